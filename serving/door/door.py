"""The front door: who may come in, with how much, and who has to come back later."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from adapters.errors import AdminOnly, DragomanError, LimitExceeded
from serving.door import body
from serving.door.admitted import Admitted
from serving.door.allowance import Allowances
from serving.door.caller import ANYBODY, Caller
from serving.door.caller import STATE as CALLER
from serving.door.demand import Demand, demand_of
from serving.door.key import Key
from serving.door.keyring import KeyRing, Presented, headers_of, presented
from serving.door.ledger import Use
from serving.door.meter import Meter
from serving.door.overload import Overload
from serving.door.settings import DoorSettings
from serving.door.used import STATE as USED
from serving.metrics import Metrics

if TYPE_CHECKING:
    from serving.traffic import Exchange

# By which a client may ask to be served behind the others; never before them.
_PRIORITY: Final = "x-dragoman-priority"
_ERROR: Final = 400


class Door:
    """Lets requests in by the settings that are in force at that moment."""

    def __init__(
        self,
        settings: Callable[[], DoorSettings],
        meter: Meter,
        overload: Overload,
        metrics: Metrics,
    ) -> None:
        """Ask `settings` at each request."""
        self._settings = settings
        self._meter = meter
        self._overload = overload
        self._allowances = Allowances()
        self._metrics = metrics
        self._ring = (settings(), KeyRing(settings().keys))

    async def open(self) -> None:
        """Begin to write usage. Raises StartRefused where a newer release has changed its store."""
        await self._meter.open()

    async def close(self) -> None:
        """Write the usage that is not yet written."""
        await self._meter.aclose()

    async def usage(self, caller: Caller) -> list[dict[str, Any]]:
        """Return what keys have used in the present period: the caller's own, or all to an admin.

        Raises UsageUnavailable.
        """
        if caller.key is None:
            return []
        keys = self._settings().keys if caller.key.admin else (caller.key,)
        return [_shown(key, await self._meter.used(key)) for key in keys]

    @property
    def deadline_s(self) -> float:
        """How long a request may take."""
        return self._settings().limits.deadline_s

    @property
    def patience_s(self) -> float:
        """How long a client may keep its connection waiting."""
        return self._settings().limits.body_s

    def identify(self, scope: Any) -> Caller:
        """Return who sends a request that has no body. Raises KeyInvalid."""
        headers = headers_of(scope)
        return self._caller(headers, presented(headers, _query(scope)))

    def require_admin(self, scope: Any) -> Caller:
        """Return who may see what concerns all. Raises KeyInvalid, AdminOnly."""
        if self._settings().metrics_open:
            return ANYBODY
        caller = self.identify(scope)
        key = caller.key
        if key is not None and not key.admin:
            raise AdminOnly(
                f"the key {key.name!r} is no admin key; use one with `admin: true` in serving.yaml"
            )
        return caller

    async def let_in(self, knock: Exchange) -> Admitted:
        """Return the request's admission. Raises a DragomanError that says why not, ClientGone."""
        try:
            return await self._let_in(knock)
        except DragomanError as error:
            self._metrics.shed.labels(error.code).inc()
            raise

    async def _let_in(self, knock: Exchange) -> Admitted:
        limits = self._settings().limits
        headers = headers_of(knock.scope)
        given = presented(headers, _query(knock.scope))
        # Who shows a wrong key is told so before anything of the body is read.
        caller = self._caller(headers, given) if given is not None else None
        raw = await body.read(knock.receive, headers, limits)
        said = body.parsed(raw)
        kept, secret = body.cleaned(said)
        if caller is None:
            caller = self._caller(headers, Presented(secret) if secret else None)
        knock.give_body(raw if kept is said else json.dumps(kept).encode())
        demand = demand_of(kept, limits)
        admission = Admitted(caller, state=knock.state)
        admission.used.characters = demand.characters
        knock.state.update({CALLER: caller, USED: admission.used})
        await self._admit(admission, demand, raw, limits.backlog_s)
        return admission

    async def _admit(
        self, admission: Admitted, demand: Demand, raw: bytes, backlog_s: float
    ) -> None:
        """Take what the request needs, the cheapest first; give it back if something is missing."""
        caller = admission.caller
        try:
            if caller.key is not None:
                _refuse_uncounted(caller.key, demand)
                admission.began = self._allowances.begin(caller.key, demand.characters)
            admission.job = self._overload.let_in(caller, demand, raw, most_s=backlog_s)
            self._publish()
            if caller.key is not None:
                admission.hold = await self._meter.take(caller.key, demand.characters)
        except BaseException:
            if caller.key is not None and admission.began is not None:
                self._allowances.refund(caller.key, demand.characters)
            self._give_back(admission)
            raise

    async def see_out(self, admission: Admitted, knock: Exchange) -> None:
        """Settle what the request has used, however it ended."""
        self._give_back(admission)
        hold, used = admission.hold, admission.used
        if hold is None:
            return
        if knock.status >= _ERROR and not used.completion_tokens:
            await hold.cancel()
            return
        adapter = knock.state.get("dragoman_labels", ("", ""))[0]
        await hold.settle(used.prompt_tokens, used.completion_tokens, adapter)

    def _give_back(self, admission: Admitted) -> None:
        job, key = admission.job, admission.caller.key
        if job is not None:
            self._overload.backlog.end(job, completion_tokens=admission.used.completion_tokens)
            admission.job = None
            self._publish()
        if key is not None and admission.began is not None:
            self._allowances.end(key, admission.began)
            admission.began = None

    def _publish(self) -> None:
        self._metrics.backlog.set(self._overload.backlog.seconds() or 0.0)

    def _caller(self, headers: Mapping[str, str], given: Presented | None) -> Caller:
        settings = self._settings()
        if self._ring[0] is not settings:
            self._ring = (settings, KeyRing(settings.keys))
        asks_bulk = headers.get(_PRIORITY, "").strip().lower() == "bulk"
        ring = self._ring[1]
        if not ring:
            return Caller(priority="bulk") if asks_bulk else ANYBODY
        key = ring.find(given)
        priority = "bulk" if asks_bulk else key.priority
        return Caller(key.name, key, priority)


def _shown(key: Key, used: Use) -> dict[str, Any]:
    """Return a key's quota; what has no bound is not counted against one, so null."""
    quota = key.quota
    return {
        "key": key.name,
        "per": quota.per,
        "characters_limit": quota.characters,
        "characters_used": None if quota.characters is None else used.characters,
        "tokens_limit": quota.tokens,
        "tokens_used": None if quota.tokens is None else used.tokens,
    }


def _query(scope: Any) -> str:
    return bytes(scope.get("query_string", b"")).decode("latin-1")


def _refuse_uncounted(key: Key, demand: Demand) -> None:
    counts = key.quota.characters is not None or key.characters_per_minute is not None
    if demand.in_ids and counts:
        raise LimitExceeded(
            f"the key {key.name!r} counts characters, and token ids have none; send the prompt as "
            "text"
        )

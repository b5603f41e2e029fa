"""A door on its own: real keys, limits, ledger and allowances, no engine behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from serving.door.admitted import Admitted
from serving.door.backlog import Backlog
from serving.door.door import Door
from serving.door.key import Key, hash_of
from serving.door.ledger import open_ledger
from serving.door.limits import Limits
from serving.door.meter import Meter
from serving.door.overload import Overload
from serving.door.returns import Returns
from serving.door.settings import DoorSettings
from serving.door.speed import Speed
from serving.metrics import Metrics
from serving.traffic import Exchange


def key(name: str, **more: Any) -> Key:
    """Return a key whose secret is `secret-NAME`."""
    return Key(name=name, hash=hash_of(f"secret-{name}"), **more)


def bearer(name: str) -> dict[str, str]:
    """Return the header that shows it."""
    return {"Authorization": f"Bearer secret-{name}"}


@dataclass
class Settings:
    """What is in force; replace `now` to reload."""

    now: DoorSettings

    def __call__(self) -> DoorSettings:
        return self.now


def open_door(
    folder: Path, keys: Sequence[Key] = (), limits: Limits | None = None, **more: Any
) -> tuple[Door, Settings]:
    """Return a door whose usage is kept in `folder`, and the settings it goes by."""
    settings = Settings(DoorSettings(keys=tuple(keys), limits=limits or Limits(), **more))
    meter = Meter(open_ledger(str(folder / "usage.sqlite"), folder))
    overload = Overload(Backlog(Speed(), seats=8), Returns())
    return Door(settings, meter, overload, Metrics(CollectorRegistry())), settings


@dataclass
class Knocking:
    """Requests of one client, as ASGI has them."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""

    def exchange(self, body: Any = None, *, raw: bytes | None = None) -> Exchange:
        """Return one request."""
        sent = json.dumps(body or {"model": "m", "prompt": "abc"}).encode() if raw is None else raw
        headers = [(k.lower().encode(), v.encode("latin-1")) for k, v in self.headers.items()]
        scope = {
            "type": "http", "method": "POST", "path": "/v1/completions", "headers": headers,
            "query_string": self.query.encode(),
        }  # fmt: skip
        parts = [{"type": "http.request", "body": sent, "more_body": False}]

        async def receive() -> Any:
            if parts:
                return parts.pop()
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None:
            return None

        return Exchange(scope, receive, send)


def admitted_by(door: Door, exchange: Exchange) -> Admitted:
    """Return what the door says of one request. Raises what it raises."""
    return asyncio.run(door.let_in(exchange))

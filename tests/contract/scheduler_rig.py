"""vLLM's real scheduler over a made-up model: every answer has the length that was asked for.

No engine and no weights: a config of a tiny Llama, a clock that the test turns, and steps that
last as long as a simple cost model says.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

from serving.settings import HANDOVER, ServingSettings
from serving.turn import NOBODYS, Turn, attach

BLOCK = 16
_CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 260,
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Engine:
    """How large the made-up engine is, and how long its steps last."""

    max_loras: int = 2
    seqs: int = 32
    blocks: int = 8192
    policy: Literal["fcfs", "priority"] = "fcfs"
    step_s: float = 0.02
    sequence_s: float = 0.0015
    token_s: float = 0.0002
    # Steps in flight: 2 is async scheduling.
    depth: int = 2


@dataclass
class Answer:
    """What became of one request; times are the rig's."""

    adapter: str
    asked: float
    turn: Turn = NOBODYS
    first: float | None = None
    done: float | None = None
    tokens: int = 0
    params: Any = None


@dataclass
class Rig:
    """One scheduler and its requests."""

    scheduler: Any
    engine: Engine
    now: float = 0.0
    steps: int = 0
    busy_s: float = 0.0
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: dict[str, Any] = field(default_factory=dict)
    preempted: int = 0
    numbers: Iterator[int] = field(default_factory=count)
    in_flight: deque[Any] = field(default_factory=deque)
    adapters_of_steps: list[frozenset[int]] = field(default_factory=list)

    def ask(
        self, adapter: str = "", *, prompt: int = 16, answer: int = 8, turn: Turn = NOBODYS,
        **options: Any,
    ) -> str:  # fmt: skip
        """Add a request; return its id. `adapter` may carry a version: `id@digest`."""
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import SamplingParams
        from vllm.v1.request import Request

        name = f"r{next(self.numbers)}"
        lora = LoRARequest(adapter, version_number(adapter), "/nowhere") if adapter else None
        params = SamplingParams(max_tokens=answer, min_tokens=answer, ignore_eos=True)
        if turn is not NOBODYS:
            attach(params, turn)
        request = Request(
            name, list(range(5, 5 + prompt)), params, None, arrival_time=self.now,
            lora_request=lora, **options,
        )  # fmt: skip
        self.answers[name] = Answer(adapter, self.now, turn)
        self.requests[name] = request
        self.scheduler.add_request(request)
        return name

    def ask_again(self, session: Any, *, prompt: int = 4, answer: int = 8) -> None:
        """Send the next piece of a session's input."""
        from vllm.sampling_params import SamplingParams
        from vllm.v1.request import Request

        params = SamplingParams(max_tokens=answer, min_tokens=answer, ignore_eos=True)
        piece = Request(
            session.request_id, list(range(5, 5 + prompt)), params, None,
            lora_request=session.lora_request, arrival_time=self.now, resumable=True,
        )  # fmt: skip
        self.requests[session.request_id] = session
        self.scheduler.add_request(piece)

    def forget_the_past(self, pin: int, *, most: int) -> None:
        """Check that no step needed more slots than there are; then let go of what is done."""
        assert all(len({pin} | step) <= most for step in self.adapters_of_steps)
        self.adapters_of_steps.clear()
        for name in [name for name, answer in self.answers.items() if name not in self.requests]:
            del self.answers[name]

    def abort(self, name: str) -> None:
        """End a request as a client does that hangs up."""
        from vllm.v1.request import RequestStatus

        self.scheduler.finish_requests(name, RequestStatus.FINISHED_ABORTED)
        self.requests.pop(name, None)

    def step(self) -> None:
        """Schedule one step, and take in the oldest of those in flight."""
        output = self.scheduler.schedule()
        self.steps += 1
        self.preempted += len(output.preempted_req_ids or ())
        tokens = output.total_num_scheduled_tokens
        if tokens:
            # Known now only: with two steps in flight the request moves on meanwhile.
            samples = {n for n in output.num_scheduled_tokens if self._samples(n)}
            self.in_flight.append((output, samples))
            cost = self.engine.step_s + self.engine.sequence_s * len(output.num_scheduled_tokens)
            cost += self.engine.token_s * (tokens - len(output.num_scheduled_tokens))
            self.busy_s += cost
            self.now += cost
            self._note_adapters(output)
        else:
            self.now += 0.001
        if self.in_flight and (len(self.in_flight) >= self.engine.depth or not tokens):
            self._take_in(*self.in_flight.popleft())

    def run_until_idle(self, most: int = 100_000) -> None:
        """Step until nothing is left; fails when it takes more steps than that."""
        for _ in range(most):
            if not self.scheduler.has_unfinished_requests() and not self.in_flight:
                return
            self.step()
        raise AssertionError(f"{len(self.requests)} requests are stuck after {most} steps")

    def running(self) -> list[str]:
        """Return the adapters of what runs."""
        return [self.answers[request.request_id].adapter for request in self.scheduler.running]

    def _note_adapters(self, output: Any) -> None:
        requests = (self.requests.get(name) for name in output.num_scheduled_tokens)
        loras = (request.lora_request for request in requests if request)
        self.adapters_of_steps.append(frozenset(lora.lora_int_id for lora in loras if lora))

    def _take_in(self, output: Any, samples: set[str]) -> None:
        from vllm.v1.outputs import ModelRunnerOutput

        names = list(output.num_scheduled_tokens)
        sampled = [[7] if name in samples else [] for name in names]
        made = ModelRunnerOutput(
            req_ids=names, req_id_to_index={name: i for i, name in enumerate(names)},
            sampled_token_ids=sampled,
        )  # fmt: skip
        for outputs in self.scheduler.update_from_output(output, made).values():
            for each in outputs.outputs:
                self._note(each)

    def _samples(self, name: str) -> bool:
        """Return whether a step ends with a new token, and is no mere part of a prompt."""
        request = self.requests.get(name)
        return request is not None and not request.is_prefill_chunk

    def _note(self, output: Any) -> None:
        answer = self.answers.get(output.request_id)
        if answer is None:
            return
        if output.new_token_ids and answer.first is None:
            answer.first = self.now
        answer.tokens += len(output.new_token_ids)
        if output.finish_reason is not None:
            answer.done = self.now
            answer.params = output.kv_transfer_params
            self.requests.pop(output.request_id, None)


def version_number(adapter: str) -> int:
    """Return a number for an engine's name: the same in every run."""
    return zlib.crc32(adapter.encode()) + 1


@contextmanager
def handed(settings: ServingSettings | None) -> Iterator[None]:
    """Let what is built inside find these settings, as in a server of ours."""
    before = os.environ.pop(HANDOVER, None)
    if settings is not None:
        os.environ[HANDOVER] = settings.model_dump_json()
    try:
        yield
    finally:
        os.environ.pop(HANDOVER, None)
        if before is not None:
            os.environ[HANDOVER] = before


def build(
    folder: Path, engine: Engine, settings: ServingSettings | None = None, *, fair: bool = True
) -> Rig:
    """Return a rig of our scheduler, or of vLLM's own."""
    config = _vllm_config(folder, engine)
    import torch
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
    config.cache_config.num_gpu_blocks = engine.blocks
    options: dict[str, Any] = {
        "vllm_config": config,
        "kv_cache_config": KVCacheConfig(
            num_blocks=engine.blocks, kv_cache_tensors=[],
            kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
        ),
        "structured_output_manager": StructuredOutputManager(config),
        "block_size": BLOCK,
        "log_stats": True,
    }  # fmt: skip
    if not fair:
        return Rig(AsyncScheduler(**options), engine)
    from serving.scheduler import FairScheduler

    with handed(settings):
        rig = Rig(FairScheduler(**options), engine)
    desk = rig.scheduler._desk
    desk.clock = lambda: rig.now
    desk.now = 0.0
    desk.slots._seen = 0.0
    return rig


def _vllm_config(folder: Path, engine: Engine) -> Any:
    from vllm.config import (
        CacheConfig,
        DeviceConfig,
        LoRAConfig,
        ModelConfig,
        ParallelConfig,
        SchedulerConfig,
        VllmConfig,
    )

    (folder / "config.json").write_text(json.dumps(_CONFIG), encoding="utf-8")
    return VllmConfig(
        model_config=ModelConfig(
            model=str(folder), skip_tokenizer_init=True, dtype="bfloat16", max_model_len=4096
        ),
        scheduler_config=SchedulerConfig(
            max_num_seqs=engine.seqs, max_num_batched_tokens=4096, max_model_len=4096,
            is_encoder_decoder=False, async_scheduling=True, policy=engine.policy,
        ),
        cache_config=CacheConfig(block_size=BLOCK, enable_prefix_caching=False),
        parallel_config=ParallelConfig(),
        lora_config=LoRAConfig(
            max_lora_rank=8, max_loras=engine.max_loras, max_cpu_loras=max(64, engine.max_loras)
        ),
        device_config=DeviceConfig("cpu"),
    )  # fmt: skip

"""A version proves that it is itself: it gives its golden answer before it answers anybody.

Hashes say that the files are those that were published. They do not say that the manifest belongs
to them, nor what the engine made of them: slots, kernels, precision. So a version that was just
loaded scores an answer that training took from it. The tolerance is measured:
docs/adr/0005-golden-check.md.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import Any, Final

from adapters.errors import GoldenMismatch
from adapters.manifest import AdapterManifest, Golden
from adapters.registry import Published
from adapters.tokenizer import Tokenizer
from serving.metrics import Metrics
from serving.vllm_compat import LoRARequest, score_prompt

# Longer ones cost more than a check may: they are left out, and the log says so.
_MAX_SOURCE_CHARS: Final = 1000
_SHOWN: Final = 60
# torch compiles for one length, and once more, for any, when it meets another.
_WARM_UP_LENGTHS: Final = (24, 32)
_TOLERANCE_TOKENS: Final = 8
logger = logging.getLogger("vllm.dragoman")


@dataclass(frozen=True)
class GoldenCheck:
    """Scores the golden answer of versions that were just loaded, by the engine itself.

    vocab_size is the base's, max_tokens the longest prompt that the engine takes. tolerance_nats
    is how far an answer of eight tokens may lie from training's; 0 lets all pass unasked.
    """

    engine: Any
    tokenizer: Tokenizer
    metrics: Metrics
    vocab_size: int
    max_tokens: int
    tolerance_nats: float

    def tolerance(self, golden: Golden) -> float:
        """Return how far this answer may lie off, in nats: rounding adds up as a random walk."""
        tokens = max(len(golden.token_ids), _TOLERANCE_TOKENS)
        return self.tolerance_nats * math.sqrt(tokens / _TOLERANCE_TOKENS)

    async def warm_up(self) -> None:
        """Score two prompts of the base: the first of a kind compiles for seconds."""
        fitting = [length for length in _WARM_UP_LENGTHS if length <= self.max_tokens]
        for length in fitting if self.tolerance_nats else ():
            await score_prompt(self.engine, range(length), None, scored=1, name="warm-up")

    async def __call__(self, published: Published, weights: LoRARequest) -> None:
        """Return if the version gives its golden answer, or has none. Raises GoldenMismatch.

        One request of one step, beside the users' own metrics and outside of the prefix cache.
        """
        ids = self._ids(published)
        if ids is None:
            logger.info("%s: not checked by a golden answer", published.name)
            self.metrics.golden.labels("none").inc()
            return
        golden = published.manifest.golden[0]
        started = time.perf_counter()
        found = await score_prompt(
            self.engine, ids, weights, scored=len(golden.token_ids), name=published.name
        )
        self.metrics.golden_seconds.observe(time.perf_counter() - started)
        passed = abs(found - golden.logprob) <= self.tolerance(golden)
        self.metrics.golden.labels("passed" if passed else "mismatch").inc()
        if not passed:
            raise self._mismatch(published.manifest, golden, f"found {found:.2f}")

    def _ids(self, published: Published) -> list[int] | None:
        """Return prompt and answer as the engine's ids, or None if there is nothing to ask."""
        manifest = published.manifest
        if not self.tolerance_nats or not manifest.golden:
            return None
        golden = manifest.golden[0]
        if len(golden.source) > _MAX_SOURCE_CHARS:
            return None
        if max(golden.token_ids) >= self.vocab_size:
            # An id that the base does not have would end the engine.
            raise self._mismatch(manifest, golden, f"its ids exceed the base's {self.vocab_size}")
        prompt = manifest.prompt.encode(golden.source, manifest.pairs[0], self.tokenizer)
        ids = [*prompt, *golden.token_ids]
        return ids if len(ids) <= self.max_tokens else None

    def _mismatch(self, manifest: AdapterManifest, golden: Golden, found: str) -> GoldenMismatch:
        source = golden.source if len(golden.source) <= _SHOWN else f"{golden.source[:_SHOWN]}…"
        expected = f"{golden.logprob:.2f} ± {self.tolerance(golden):.1f}"
        return GoldenMismatch(
            f"{manifest.id}@{manifest.version} does not give its golden answer to {source!r}: "
            f"expected a log-probability of {expected}, {found}; these are other weights than it "
            "was measured with: publish it again from its run"
        )

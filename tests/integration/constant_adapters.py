"""Train adapters that answer every segment with one word, and publish them.

Their answers cannot be mistaken for each other, so a test that mixes them up fails for sure, and
bf16 rounding in a mixed batch cannot make it fail by chance.

    python constant_adapters.py REGISTRY BASE id=word [id=word …]
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from adapters.base_model import BaseModelRef
from adapters.base_prompt import prompt_for_base
from adapters.ids import AdapterId, LanguagePair
from adapters.manifest import AdapterManifest, Golden, Weights, hash_files
from adapters.registry import FileRegistry
from adapters.tokenizer import BaseTokenizer
from tests.integration.harness import USER
from training.corpus.segment import Segment
from training.encode import Encoder
from training.evaluate.generate import Generator
from training.fit.result import FitResult
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.methods.config import LoraMethod

SOURCES = (
    "Open the file.", "Close all tabs", "Kernel", "Run cell", "A new notebook was created.",
    "Settings", "The server is not reachable", "Save as…", "%s of %s files", "Undo",
    "Are you sure?", "Delete the selected cells", "Help", "No results", "Restart", "Copy path",
)  # fmt: skip
METHOD = LoraMethod(rank=8, alpha=16.0, targets=("q_proj", "v_proj", "down_proj"))
SCHEDULE = Schedule(
    epochs=100, max_steps=16, batch_size=4, learning_rate=4e-3, warmup=0.0, save_every=1000,
    evaluate_every=1000,
)  # fmt: skip


def publish_constants(words: dict[str, str], base: Path, registry: FileRegistry) -> None:
    """Train each id to answer its word, and publish it as the next version."""
    tokenizer = BaseTokenizer.load(base)
    prompt = prompt_for_base(base, user=USER)
    with tempfile.TemporaryDirectory() as out:
        trained = {}
        for name, word in words.items():
            encoder = Encoder(prompt, _pair(name), tokenizer, max_length=64)
            rows = [encoder.encode(Segment(s, word, "d", "-", 1)) for s in SOURCES]
            trained[name] = fit(rows, rows[:4], base, METHOD, SCHEDULE, Path(out) / name)
        generator = Generator.load(
            base, {n: fitted.adapter_folder for n, fitted in trained.items()}
        )
        for name, fitted in trained.items():
            asked = prompt.encode(SOURCES[0], _pair(name), tokenizer)
            ids = prompt.encode_target(words[name], tokenizer)
            (logprob,) = generator.logprobs([asked], [ids], adapter=name)
            sys.stderr.write(f"{name}: {words[name]}, log-probability {logprob:.3f}\n")
            golden = Golden(source=SOURCES[0], token_ids=tuple(ids), logprob=logprob)
            registry.publish(_draft(name, base, fitted, golden), fitted.adapter_folder)


def _draft(name: str, base: Path, fitted: FitResult, golden: Golden) -> AdapterManifest:
    adapter_id = AdapterId.parse(name)
    return AdapterManifest(
        id=adapter_id,
        version=1,
        created=datetime.now(UTC),
        domain=adapter_id.domain,
        pairs=(_pair(name),),
        base=BaseModelRef.read(base),
        prompt=prompt_for_base(base, user=USER),
        weights=Weights(
            rank=METHOD.rank,
            alpha=METHOD.alpha,
            target_modules=fitted.target_modules,
            files=hash_files(fitted.adapter_folder),
        ),
        golden=(golden,),
        licence="Gemma Terms of Use",
    )


def _pair(name: str) -> LanguagePair:
    return AdapterId.parse(name).pair or LanguagePair("en", "fr")


if __name__ == "__main__":
    publish_constants(
        dict(item.split("=", 1) for item in sys.argv[3:]),
        Path(sys.argv[2]),
        FileRegistry(Path(sys.argv[1])),
    )

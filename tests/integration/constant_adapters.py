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
from adapters.manifest import AdapterManifest, Weights, hash_files
from adapters.registry import FileRegistry
from adapters.tokenizer import BaseTokenizer
from tests.integration.harness import USER
from training.corpus.segment import Segment
from training.encode import Encoder
from training.fit.config import LoraMethod, Schedule
from training.fit.run import fit

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


def publish_constant(name: str, word: str, *, base: Path, registry: FileRegistry) -> None:
    """Train `name` to answer `word`, and publish it as the next version."""
    adapter_id = AdapterId.parse(name)
    pair = adapter_id.pair or LanguagePair("en", "fr")
    prompt = prompt_for_base(base, user=USER)
    encoder = Encoder(prompt, pair, BaseTokenizer.load(base), max_length=64)
    rows = [encoder.encode(Segment(s, word, "d", "-", 1)) for s in SOURCES]
    with tempfile.TemporaryDirectory() as out:
        result = fit(rows, rows[:4], base, METHOD, SCHEDULE, Path(out))
        sys.stderr.write(f"{name}: {word}, loss {result.losses[-1:]} in {result.seconds:.0f} s\n")
        manifest = AdapterManifest(
            id=adapter_id,
            version=1,
            created=datetime.now(UTC),
            domain=adapter_id.domain,
            pairs=(pair,),
            base=BaseModelRef.read(base),
            prompt=prompt,
            weights=Weights(
                rank=METHOD.rank,
                alpha=METHOD.alpha,
                target_modules=result.target_modules,
                files=hash_files(result.adapter_folder),
            ),
            licence="Gemma Terms of Use",
        )
        registry.publish(manifest, result.adapter_folder)


if __name__ == "__main__":
    for item in sys.argv[3:]:
        publish_constant(
            *item.split("=", 1), base=Path(sys.argv[2]), registry=FileRegistry(Path(sys.argv[1]))
        )

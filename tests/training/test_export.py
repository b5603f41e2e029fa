"""Every architecture that the table names really converts, and says what transformers says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.errors import UnsupportedAdapter
from adapters.ids import LanguagePair
from adapters.manifest import Decoding
from tests import fakes
from tests.training import tiny_pairs
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.methods.config import PromptMethod
from training.seq2seq.encode import PairEncoder
from training.seq2seq.family import family_of
from training.seq2seq.tokenizer import PairTokenizer
from training.translate.export import CONVERTED, export
from training.translate.note import Engine, ModelNote, Precision
from training.translate.opening import Languages, open_folder
from training.translate.translator import Decoder

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

PAIR = LanguagePair("en", "de")
SOURCES = [source for source, _ in tiny_pairs.PAIRS[::9]] + ["a </s> b", "x"]
SHORT = Decoding(min_max_tokens=12, max_tokens_per_source_token=0.5)


def as_run(folder: Path, kind: str) -> Path:
    """Write a run whose result is a whole random model of `kind`."""
    causal = kind in ("bloom", "gpt_neo")
    write = tiny_pairs.write_causal_base if causal else tiny_pairs.write_base
    base = write(folder / "adapter", kind)
    note: dict[str, Any] = {"id": "tiny-en-de", "pair": PAIR, "base": str(base), "decoding": SHORT}
    if causal:
        note["prompt"] = fakes.prompt_format()
    ModelNote(**note, family=family_of(base)).write(folder)
    return folder


def answers(folder: Path, *, beams: int = 1) -> list[tuple[int, ...]]:
    decoder = Decoder(beams=beams, batch_size=4)
    translator = open_folder(folder, languages=Languages(), decoder=decoder)
    return [answer.token_ids for answer in translator.translate(SOURCES)]


@pytest.mark.parametrize("kind", sorted(CONVERTED))
def test_a_converted_model_says_what_transformers_says(kind: str, tmp_path: Path) -> None:
    run, out = as_run(tmp_path / "run", kind), tmp_path / "out"
    assert export(run, out, Precision.FLOAT32) is Engine.CTRANSLATE2
    assert not list(out.rglob("*.safetensors"))
    greedy = answers(run)
    assert len(set(greedy)) > len(SOURCES) // 2  # or a model that always says one thing would do
    assert answers(out) == greedy
    if kind == "marian":
        assert answers(out, beams=4) == answers(run, beams=4) != greedy


def test_int8_is_small_and_runs(tmp_path: Path) -> None:
    run = as_run(tmp_path / "run", "marian")
    sizes = {}
    for precision in (Precision.INT8, Precision.FLOAT32):
        out = tmp_path / precision
        export(run, out, precision)
        sizes[precision] = (out / "ctranslate2" / "model.bin").stat().st_size
    assert sizes[Precision.INT8] < 0.6 * sizes[Precision.FLOAT32]
    assert len(answers(tmp_path / "int8")) == len(SOURCES)


def test_what_ctranslate2_does_not_know_is_run_by_transformers(tmp_path: Path) -> None:
    run, out = as_run(tmp_path / "run", "gpt_neo"), tmp_path / "out"
    assert export(run, out, Precision.INT8) is Engine.TRANSFORMERS
    assert answers(out) == answers(run)


def test_virtual_tokens_are_no_model_of_their_own(tmp_path: Path) -> None:
    base = tiny_pairs.write_base(tmp_path / "base", "t5")
    family = family_of(base)
    assert family is not None
    tokenizer = PairTokenizer.load(base, family=family, pair=PAIR, template="{text}")
    rows, _ = PairEncoder(tokenizer, 64).encode_all([_Pair(*p) for p in tiny_pairs.PAIRS[:4]])
    run, method = tmp_path / "run", PromptMethod(kind="prompt", tokens=2)
    fit(rows, [], base, method, Schedule(max_steps=1), run)
    ModelNote(id="tiny-en-de", pair=PAIR, base=str(base), family=family).write(run)
    with pytest.raises(UnsupportedAdapter, match="dragoman translate --model"):
        export(run, tmp_path / "out", Precision.INT8)
    assert not (tmp_path / "out").exists()
    assert len(answers(run)) == len(SOURCES)


class _Pair:
    def __init__(self, source: str, target: str) -> None:
        self.source, self.target = source, target

"""The shipped recipes of sequence-to-sequence bases, end to end, on random models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import dragoman
from adapters.ids import LanguagePair
from tests.training import tiny, tiny_pairs
from training.prepare import load
from training.recipe import Recipe
from training.seq2seq.ask import encoder_for
from training.seq2seq.family import family_of
from training.translate.note import Engine, ModelNote

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

# The random bases know nothing, so they get higher rates and more epochs than the real ones.
FAST = (
    "split={dev: 10, test: 10}", "evaluate.segments=10", "schedule.epochs=6",
    "schedule.learning_rate=8e-3", "schedule.batch_size=8", "schedule.evaluate_every=30",
    "schedule.tokens_per_pass=512",
    "clean.min_script=null", "clean.other_language=null",  # the words are made up
)  # fmt: skip
LORA = "method={kind: lora, rank: 8, alpha: 16}"


def call(*arguments: object, fails: bool = False, stdin: str | None = None) -> Any:
    result = CliRunner().invoke(dragoman.build_app(), list(map(str, arguments)), input=stdin)
    assert (result.exit_code != 0) == fails, (result.output, result.exception)
    return result


def train(name: str, folder: Path, kind: str, keys: tuple[str, str], *changes: str) -> Any:
    base = tiny_pairs.write_base(folder / "base", kind)
    data = tiny_pairs.write_jsonl(folder / "pairs.jsonl", *keys)
    settings = [f"base={base}", f"data.0.jsonl={data}", *FAST, *changes]
    options = [word for setting in settings for word in ("--set", setting)]
    return json.loads(call("train", name, *options, "--out", folder / "run", "--json").stdout)


def held_out_loss(name: str, folder: Path) -> float:
    """Return the untrained base's loss per target token on the run's dev part."""
    from training.seq2seq.load import load_pair_model
    from training.seq2seq.trainer import PairCollator

    recipe, base = Recipe.load(name), folder / "base"
    family = family_of(base)
    assert family is not None
    rows, _ = encoder_for(recipe, base, family).encode_all(load(folder / "run" / "data").dev)
    model = load_pair_model(base).eval()
    batch = PairCollator(model.config)(rows)
    with torch.inference_mode():
        return float(model(**batch).loss)


PRESETS = [
    ("opus-mt-en-zh-k8s", "marian", ("en", "zh"), ()),
    ("opus-mt-en-zh-k8s", "marian", ("en", "zh"), (LORA,)),
    ("mbart-50-de-en", "mbart", ("en", "de"), ("data.0.pair=de-en",)),
]


@pytest.mark.parametrize(("name", "kind", "keys", "changes"), PRESETS)
def test_a_preset_learns_what_its_base_does_not_know(
    name: str, kind: str, keys: tuple[str, str], changes: tuple[str, ...], tmp_path: Path
) -> None:
    summary = train(name, tmp_path, kind, keys, *changes)
    fitted = json.loads((tmp_path / "run" / "fit.json").read_text())
    assert fitted["dev_losses"][-1][1] < held_out_loss(name, tmp_path) - 0.5
    assert summary["chrf"] > summary["base_chrf"]
    assert summary["base_asked"] == "no examples"
    assert summary["published"] is None
    assert (tmp_path / "run" / "adapter" / "report.html").is_file()
    test = tmp_path / "run" / "data" / "test.jsonl"
    found = json.loads(call("eval", "--model", tmp_path / "run", "--data", test, "--json").stdout)
    scores = {score["metric"]: score for score in found["scores"]}
    assert round(scores["chrF++"]["value"], 2) == summary["chrf"]
    assert scores["chrF++"]["signature"] == summary["signature"]
    assert round(scores["BLEU"]["value"], 2) == summary["bleu"]


def test_a_run_and_its_export_translate_lines_alike(tmp_path: Path) -> None:
    train("opus-mt-en-zh-k8s", tmp_path, "marian", ("en", "zh"), LORA)
    run, out = tmp_path / "run", tmp_path / "exported"
    lines = "open the file now\n\nmove the node here\n"
    before = call("translate", "--model", run, stdin=lines).stdout.splitlines()
    assert len(before) == 3
    assert before[0]
    assert before[1] == ""
    told = call("export", run, out, "--precision", "float32").stdout
    assert "ctranslate2" in told
    assert ModelNote.read(out).engine is Engine.CTRANSLATE2
    file = tmp_path / "lines.txt"
    file.write_text(lines, encoding="utf-8")
    body = json.loads(call("translate", "--model", out, file, "--json").stdout)
    assert [t["translation"] for t in body["translations"]] == before
    assert body["pair"] == str(LanguagePair("en", "zh"))
    (tmp_path / "base").rename(tmp_path / "moved")  # an exported model needs none
    assert call("translate", "--model", out, "open the file now").stdout.splitlines() == before[:1]
    call("translate", "--model", run, "open", fails=True)
    moved = call("translate", "--model", run, "--base", tmp_path / "moved", stdin=lines)
    assert moved.stdout.splitlines() == before


RECIPE = """\
id: ui-en-de
licence: CC0-1.0
base: BASE
data: [{jsonl: pairs.jsonl, licence: CC0-1.0}]
split: {dev: 4, test: 6}
schedule: {max_steps: 2, batch_size: 4}
evaluate: {segments: 6, shots: 1}
"""


def test_a_causal_adapter_translates_from_its_run_and_from_the_registry(tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "base")
    tiny_pairs.write_jsonl(tmp_path / "pairs.jsonl", "en", "de")
    recipe, registry, run = tmp_path / "recipe.yaml", tmp_path / "registry", tmp_path / "run"
    recipe.write_text(RECIPE.replace("BASE", str(base)), encoding="utf-8")
    call("train", recipe, "--out", run, "--registry", registry, "--publish", "--force", "--json")
    test = load(run / "data").test
    outputs = json.loads((run / "outputs.json").read_text())["en-de"]["candidate"]
    stdin = "\n".join(segment.source for segment in test)
    published = ("--adapter", "ui-en-de", "--registry", registry, "--base", base)
    for options in (("--model", run), published):
        found = json.loads(call("translate", *options, "--json", stdin=stdin).stdout)
        shown = [" ".join(t["translation"].split()) for t in found["translations"]]
        assert shown == [" ".join(text.split()) for text in outputs]
    other = tiny.write_base(tmp_path / "other", "gemma")
    wrong = call("translate", "open", *published[:-1], other, fails=True)
    assert "was trained on tiny" in str(wrong.exception)
    beams = call("translate", "open", "--model", run, "--beams", 4, fails=True)
    assert "decoded greedily" in str(beams.exception)
    told = call("translate", "open", "--model", run, "--to", "fr", fails=True)
    assert "translates en-de" in str(told.exception)

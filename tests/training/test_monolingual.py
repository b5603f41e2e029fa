"""Plain text as training data: read, split, packed without loss, measured by perplexity."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import DataInvalid, RecipeInvalid
from adapters.ids import LanguagePair
from adapters.registry import FileRegistry
from tests import fakes
from tests.training.fake_run import World
from training.build.keys import normalise
from training.corpus.jsonl import read_texts
from training.corpus.reading import Columns, Reading
from training.corpus.text import read_text
from training.encode import IGNORED
from training.encode_text import TextPacker
from training.evaluate.perplexity import compare_perplexity
from training.objective import Monolingual, Sft
from training.pipeline import run
from training.prepare import prepare
from training.recipe import Recipe
from training.run import Options

FRENCH = LanguagePair("fr", "fr")
RECIPE = """\
id: docs-en-fr
licence: CC0-1.0
base: BASE
objective: {kind: monolingual}
data:
  - {text: pages.txt, language: fr, licence: CC0-1.0}
split: {dev: 3, test: 5, near: null}
"""


class Bytes:
    """A tokenizer of single bytes, markup in angle brackets apart."""

    def encode_text(self, text: str) -> list[int]:
        return [10 + byte for byte in text.encode()]

    def encode_markup(self, text: str) -> list[int]:
        return {"": [], "<bos>": [fakes.BOS], "<eos>": [fakes.EOS]}[text]


def packer(max_length: int, **changes: str) -> TextPacker:
    return TextPacker(fakes.prompt_format(**changes), Bytes(), max_length)


def load(tmp_path: Path, text: str = RECIPE) -> Recipe:
    blocks = [f"Page {n} du manuel.\nElle parle du noyau." for n in range(30)]
    (tmp_path / "pages.txt").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    base = fakes.write_base(tmp_path / "tiny")
    (tmp_path / "r.yaml").write_text(text.replace("BASE", str(base)), encoding="utf-8")
    return Recipe.load(str(tmp_path / "r.yaml"))


def test_blocks_between_empty_lines_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n\nUn\n  deux\n \t\n\nTrois\n", encoding="utf-8")
    first, second = read_text(path, Reading(FRENCH))
    assert (first.target, first.line) == ("Un\n  deux", 3)
    assert (second.target, second.line) == ("Trois", 7)
    assert first.pair == LanguagePair("fr", "fr")


def test_one_column_of_json_lines_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [{"text": "Un", "body": "Deux", "doc": "a"}, {"text": "Trois", "body": "Quatre"}]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert [s.target for s in read_texts(path, Reading(FRENCH))] == ["Un", "Trois"]
    named = list(read_texts(path, Reading(FRENCH, Columns(target="body"))))
    assert [(s.target, s.document) for s in named] == [("Deux", "a"), ("Quatre", "a.jsonl")]
    with pytest.raises(DataInvalid, match=r"a\.jsonl:1: expected the key 'page', found 'text'"):
        list(read_texts(path, Reading(FRENCH, Columns(target="page"))))


def test_text_is_cleaned_and_split_like_any_other(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    with (tmp_path / "pages.txt").open("a", encoding="utf-8") as file:
        file.write("\nPage 1 du manuel.\nElle parle du noyau.\n\n" + "Très long. " * 300)
    data = prepare(recipe)
    assert recipe.objective == Monolingual()
    assert data.report.clean["dropped"]["duplicate"] == 1
    assert (len(data.train), len(data.dev), len(data.test)) == (23, 3, 5)
    assert any(len(s.target) > 3000 for s in [*data.train, *data.dev, *data.test])
    held_out = {normalise(segment.source) for segment in (*data.test, *data.dev)}
    assert not held_out & {normalise(segment.source) for segment in data.train}


@given(
    st.lists(st.text(alphabet="abé\n", max_size=40), max_size=12),
    st.integers(4, 30),
)
def test_no_token_is_lost_and_every_token_is_learnt(texts: list[str], max_length: int) -> None:
    made = packer(max_length)
    rows, report = made.pack(texts)
    assert [i for row in rows for i in row.input_ids] == [
        i for text in texts for i in made.text_ids(text)
    ]
    assert all(0 < len(row) <= max_length for row in rows)
    assert all(row.labels == row.input_ids and IGNORED not in row.labels for row in rows)
    assert (report.kept, report.too_long) == (len(rows), 0)


def test_rows_hold_whole_texts_and_cut_only_what_is_longer_than_a_row() -> None:
    rows, _ = packer(8).pack(["abc", "d", "efghijklmno", "p"])
    assert [len(row) for row in rows] == [8, 8, 8]
    assert rows[0].input_ids == [
        fakes.BOS,
        *b_ids("abc"),
        fakes.EOS,
        fakes.BOS,
        *b_ids("d"),
        fakes.EOS,
    ]
    assert rows[1].input_ids == [fakes.BOS, *b_ids("efghijk")]


def b_ids(text: str) -> list[int]:
    return Bytes().encode_text(text)


def test_a_base_without_an_end_of_text_uses_what_stops_an_answer() -> None:
    assert packer(8, eos_token="").text_ids("a")[-1] == fakes.END
    assert packer(8, bos_token="").text_ids("a")[0] == b_ids("a")[0]


def test_perplexity_is_of_all_tokens_and_tells_luck_from_gain() -> None:
    rng = np.random.default_rng(0)
    tokens = [50] * 40
    base = [-50 * (2.0 + noise) for noise in rng.normal(0, 0.2, 40)]
    better = [logprob + 50 * 0.3 for logprob in base]
    found = compare_perplexity(better, base, tokens, max_length=64)
    assert found.value == pytest.approx(math.exp(-sum(better) / 2000))
    assert found.other == pytest.approx(found.value * math.exp(0.3))
    assert found.ci95[0] < found.value < found.ci95[1]
    assert found.p_value == pytest.approx(1 / 1001)
    assert found.tokens == 2000
    assert compare_perplexity(base, better, tokens, max_length=64).p_value == 1.0
    assert compare_perplexity(base, base, tokens, max_length=64).p_value == 1.0
    assert "tokens:2000" in found.signature


def test_a_run_on_text_learns_rows_without_prompt_and_measures_perplexity(
    world: World, tmp_path: Path
) -> None:
    outcome = run(load(tmp_path), FileRegistry(tmp_path / "registry"), Options(tmp_path / "run"))
    assert world.shown
    assert all(row.prompt_ids == () for row in world.shown)
    firsts = Counter(row.input_ids[0] for row in world.shown)
    assert firsts[fakes.BOS] == len(world.shown)
    assert outcome.summary["base_perplexity"] > outcome.summary["perplexity"] > 1
    assert outcome.published is None
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == outcome.summary


def test_an_adapter_that_read_text_is_not_published(world: World, tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="nothing to publish"):
        run(load(tmp_path), FileRegistry(tmp_path / "r"), Options(tmp_path / "run", publish=True))
    assert world.fits == []


def test_sft_is_the_objective_where_none_is_said(tmp_path: Path) -> None:
    text = "id: ui-en-fr\nlicence: MIT\ndata: [{tsv: a.tsv, licence: MIT}]\n"
    assert load(tmp_path, text).objective == Sft()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RECIPE.replace("language: fr, ", ""), "`data.0`: a text source says its `language`"),
        (RECIPE.replace("language: fr", "language: es"), "source 0 is in es"),
        (RECIPE.replace("{kind: monolingual}", "{}"), "set `objective: {kind: monolingual}`"),
        (RECIPE.replace("text: pages.txt, language: fr", "tsv: a.tsv"), "has no `language`"),
        (RECIPE.replace("text: pages.txt", "tsv: a.tsv"), "`language` is of monolingual text"),
        (RECIPE.replace("monolingual", "monolingal"), "did you mean `monolingual`?"),
        (RECIPE + "clean: {drop_identical: true}\n", "would drop all monolingual text"),
    ],
)
def test_what_does_not_fit_plain_text_is_told(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        load(tmp_path, text)
    assert expected in str(caught.value)

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.manifest import Golden
from adapters.prompt import Example
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from training.assess import most_telling, texts_of_test
from training.corpus.segment import Segment
from training.evaluate.few_shot import BaseFormat, base_formats
from training.examples import examples_from
from training.recipe import Recipe

EXAMPLES = [Example(source="Save", target="Enregistrer"), Example(source="Open", target="Ouvrir")]


def segment(source: str, target: str = "x") -> Segment:
    return Segment(source, target, "d", "f", 1)


@pytest.fixture
def formats(recipe_file: Path, tmp_path: Path) -> list[BaseFormat]:
    tokenizer = BaseTokenizer.load(tmp_path / "tiny")
    return base_formats(Recipe.load(str(recipe_file)), tmp_path / "tiny", EXAMPLES, tokenizer)


def test_the_base_is_asked_in_turns_and_as_plain_text(
    formats: list[BaseFormat], recipe_file: Path
) -> None:
    pair = Recipe.load(str(recipe_file)).pair
    turns, plain = (asked.prompt.render("Close", pair) for asked in formats)
    assert turns.count("<start_of_turn>") == 6
    assert plain == (
        "<bos>English: Save\nFrench: Enregistrer\n\nEnglish: Open\nFrench: Ouvrir\n\n"
        "English: Close\nFrench:"
    )


def test_the_base_stops_where_the_adapter_does(formats: list[BaseFormat]) -> None:
    for asked in formats:
        assert {fakes.END, fakes.EOS} <= set(asked.stop_token_ids("Close"))


def test_a_plain_answer_ends_where_no_source_like_this_goes_on(formats: list[BaseFormat]) -> None:
    _, plain = formats
    assert plain.trim(" Fermer\nEnglish: Save", "Close") == "Fermer"
    assert plain.trim(" Un\nDeux\n\nEnglish: Save", "One\nTwo") == "Un\nDeux"
    assert plain.trim(" Un\n\nDeux", "One\n\nTwo") == "Un\n\nDeux"


def test_a_newline_stops_plain_answers_to_sources_of_one_line(
    formats: list[BaseFormat], tmp_path: Path
) -> None:
    newline = set(BaseTokenizer.load(tmp_path / "tiny").encode_markup("\n"))
    turns, plain = formats
    assert newline <= set(plain.stop_token_ids("Close"))
    assert not newline & set(plain.stop_token_ids("One\nTwo"))
    assert not newline & set(turns.stop_token_ids("Close"))


def test_examples_are_of_training_and_of_a_middling_length() -> None:
    train = [
        segment("OK"),
        segment("Close the notebook"),
        segment("x" * 500),
        segment("Open a file …"),
    ]
    assert [e.source for e in examples_from([*train, segment("Save all documents")], 3)] == [
        "Close the notebook",
        "Save all documents",
    ]
    assert examples_from([segment("OK")], 3) == [Example(source="OK", target="x")]
    assert examples_from(train, 0) == []


def test_the_name_of_a_test_set_tells_other_text_apart(recipe_file: Path) -> None:
    recipe = Recipe.load(str(recipe_file))
    first = texts_of_test(recipe, [segment("a")], recipe.pair)
    assert str(first) == str(texts_of_test(recipe, [segment("a")], recipe.pair))
    assert str(first) != str(texts_of_test(recipe, [segment("a", "other")], recipe.pair))
    assert str(first).startswith("ui-en-fr test, 1 segments, sha256:")


def test_the_golden_answers_are_those_that_only_this_adapter_gives() -> None:
    def golden(tokens: int, logprob: float) -> Golden:
        return Golden(source=f"{tokens}/{logprob}", token_ids=(1,) * tokens, logprob=logprob)

    plain, sure, unsure = golden(2, -9.0), golden(8, -0.1), golden(6, -4.0)
    assert most_telling([plain, sure, unsure]) == (unsure, sure, plain)
    assert most_telling([plain]) == (plain,)
    assert len(most_telling([sure] * 9)) == 4

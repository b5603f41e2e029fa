"""What is decided about sequence-to-sequence bases before any model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import dragoman
from adapters.errors import BaseModelError, FileCorrupt, InvalidId, RecipeInvalid, RequestInvalid
from adapters.ids import LanguagePair
from adapters.prompt import Example
from tests import fakes
from training.recipe import PromptSection
from training.seq2seq.ask import template_for
from training.seq2seq.encode import EncodedPair, PairEncoder
from training.seq2seq.family import Family, family_of
from training.seq2seq.languages import CODES, mbart_code
from training.translate.note import NOTE_FILE, ModelNote
from training.translate.opening import Languages
from training.translate_cli import read_lines


def base(folder: Path, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    fakes.write_json(folder / "config.json", config)
    return folder


def note(**changes: Any) -> ModelNote:
    return ModelNote(**{"id": "ui-en-fr", "pair": "en-fr", "base": None, **changes})


def call(*arguments: object) -> Any:
    return CliRunner().invoke(dragoman.build_app(), list(map(str, arguments)), input="")


@pytest.mark.parametrize(
    ("language", "code"),
    [("de", "de_DE"), ("en", "en_XX"), ("pt_br", "pt_XX"), ("zh", "zh_CN"), ("zh_hans", "zh_CN")],
)
def test_mbart_is_told_its_own_codes(language: str, code: str) -> None:
    assert mbart_code(language) == code


@pytest.mark.parametrize("language", ["tlh", "zh_hant", "zh_tw", "el"])
def test_a_language_that_mbart_does_not_know_is_refused(language: str) -> None:
    with pytest.raises(InvalidId, match=rf"{language}.*it knows af, ar"):
        mbart_code(language)


def test_each_code_of_mbart_is_one_languages() -> None:
    assert len(CODES) == len({code.partition("_")[0] for code in CODES}) == 52
    assert {mbart_code(code.lower()) for code in CODES} == set(CODES)


def test_a_base_is_of_the_family_that_its_config_says(tmp_path: Path) -> None:
    expected = {"marian": Family.MARIAN, "mbart": Family.MBART50, "mt5": Family.T5, "t5": Family.T5}
    for kind, family in expected.items():
        assert family_of(base(tmp_path / "b", model_type=kind, is_encoder_decoder=True)) is family
    assert family_of(base(tmp_path / "b", model_type="bloom")) is None


def test_bases_that_nobody_knows_how_to_ask_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="'whisper', expected one of marian"):
        family_of(base(tmp_path / "b", model_type="whisper", is_encoder_decoder=True))
    with pytest.raises(BaseModelError, match="mBART-25"):
        family_of(base(tmp_path / "b", model_type="mbart", tokenizer_class="MBartTokenizer"))


def test_t5_is_asked_in_its_own_words_unless_the_recipe_has_some() -> None:
    assert "translate {source} to {target}: " in template_for(PromptSection(), Family.T5)
    assert template_for(PromptSection(user="{text}"), Family.T5) == "{text}"
    assert template_for(PromptSection(), Family.MBART50) == "{text}"
    assert template_for(PromptSection(user=">>a<< {text}"), Family.MARIAN) == ">>a<< {text}"


@pytest.mark.parametrize(
    "prompt",
    [PromptSection(system="Be good."), PromptSection(examples=(Example(source="a", target="b"),))],
)
def test_roles_and_examples_are_refused(prompt: PromptSection) -> None:
    with pytest.raises(RecipeInvalid, match="without roles or examples"):
        template_for(prompt, Family.MARIAN)


class _Letters:
    def encode_source(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    encode_target = encode_source


class _Pair:
    def __init__(self, source: str, target: str) -> None:
        self.source, self.target = source, target


def test_a_pair_with_a_long_side_is_dropped_and_counted_never_cut() -> None:
    pairs = [_Pair("abcd", "ab"), _Pair("abcde", "a"), _Pair("a", "abcde"), _Pair("a", "b")]
    kept, report = PairEncoder(_Letters(), 4).encode_all(pairs)
    assert kept == [EncodedPair((97, 98, 99, 100), (97, 98)), EncodedPair((97,), (98,))]
    assert (report.kept, report.too_long, report.longest) == (2, 2, 4)
    assert (report.prompt_tokens, report.target_tokens) == (5, 3)


def test_only_a_model_that_is_told_the_languages_can_be_asked_for_others() -> None:
    other = Languages(target="de")
    told = (note(family=Family.MBART50), note(family=Family.T5, template="to {target}: {text}"))
    for model in told:
        assert other.of(model) == LanguagePair("en", "de")
    with pytest.raises(RequestInvalid, match="translates en-fr and is not told any language"):
        other.of(note(family=Family.MARIAN))
    assert Languages("en", "fr").of(note(family=Family.MARIAN)) == LanguagePair("en", "fr")


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    asked = note(family=Family.MARIAN, template=">>x<< {text}")
    for written in (asked, note(prompt=fakes.prompt_format())):
        written.write(tmp_path)
        assert ModelNote.read(tmp_path) == written
    (tmp_path / NOTE_FILE).write_text('{"id": 3}')
    with pytest.raises(FileCorrupt, match="id: "):
        ModelNote.read(tmp_path)


def test_lines_of_a_file_are_lines_whatever_ends_them(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\n\r\nthree\xe2\x80\xa8here\n")
    assert read_lines(str(file)) == ["one", "", "three\u2028here"]
    assert read_lines("Open the file.") == ["Open the file."]


def test_commands_say_what_is_wrong_with_their_inputs(tmp_path: Path) -> None:
    empty, latin = tmp_path / "empty.txt", tmp_path / "latin.txt"
    empty.write_text(" \n")
    latin.write_bytes(b"caf\xe9")
    (tmp_path / "folder").mkdir()
    wrong: dict[tuple[object, ...], str] = {
        ("translate", "a"): "--model DIR, or --adapter ID",
        ("translate", "a", "--model", "x", "--adapter", "y-en-fr"): "--model DIR, or --adapter",
        ("translate", "a", "--model", tmp_path / "none"): "no such folder",
        ("translate", "a", "--model", tmp_path / "folder"): "a folder without it",
        ("translate", empty, "--model", tmp_path): "expected lines of text",
        ("translate", latin, "--model", tmp_path): "byte 4 is not UTF-8",
        ("translate", "-", "--model", tmp_path): "standard input: expected lines",
        ("translate", "a", "--adapter", "ui-en-fr", "--registry", tmp_path): "ui-en-fr",
        ("eval", "--model", tmp_path, "--data", tmp_path / "none"): "no such file",
        ("export", tmp_path / "none", tmp_path / "out"): "no such folder",
    }
    for arguments, complaint in wrong.items():
        result = call(*arguments)
        assert result.exit_code != 0
        assert complaint in f"{result.exception} {result.output}", arguments


def test_a_run_whose_base_is_gone_says_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    note(base="/nowhere/base", family=Family.MARIAN).write(tmp_path)
    result = call("translate", "a", "--model", tmp_path)
    assert "/nowhere/base, and is no longer there" in str(result.exception)
    assert json.loads((tmp_path / NOTE_FILE).read_text())["engine"] == "transformers"

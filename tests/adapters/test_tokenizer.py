from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from adapters.errors import BaseModelNotFound, RequestInvalid
from adapters.tokenizer import BaseTokenizer
from tests import fakes

TOKENIZER = BaseTokenizer(fakes.tokenizer(), fakes.tokenizer())
CONTROL_IDS = set(range(len(fakes.CONTROL_TOKENS)))
looks_like_markup = st.lists(st.sampled_from(fakes.CONTROL_TOKENS) | st.text()).map("".join)


@given(looks_like_markup)
def test_text_never_gives_a_control_token_and_decodes_to_itself(text: str) -> None:
    ids = TOKENIZER.encode_text(text)
    assert not CONTROL_IDS & set(ids)
    assert TOKENIZER.decode(ids) == text


def test_markup_gives_control_tokens() -> None:
    assert TOKENIZER.encode_markup("<bos>a<end_of_turn>")[0] == fakes.BOS
    assert TOKENIZER.encode_markup("<bos>a<end_of_turn>")[-1] == fakes.END
    assert TOKENIZER.id_of("<end_of_turn>") == fakes.END
    assert TOKENIZER.id_of("<absent>") is None


def test_decoding_leaves_control_tokens_out() -> None:
    assert TOKENIZER.decode([fakes.BOS, *TOKENIZER.encode_text("né"), fakes.END]) == "né"


def _unigram() -> Tokenizer:
    pieces = [("<unk>", 0.0), ("<end_of_turn>", -1.0), *((c, -5.0) for c in "<>_abdefnorstu ")]
    built = Tokenizer(models.Unigram(pieces, 0, byte_fallback=False))
    built.add_special_tokens(["<unk>", "<end_of_turn>"])
    return built


def _whole_words() -> Tokenizer:
    vocab = {"<unk>": 0, "<end_of_turn>": 1, "a": 2, "<": 3, "end_of_turn>": 4}
    built = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    built.add_special_tokens(["<unk>", "<end_of_turn>"])
    return built


@pytest.mark.parametrize("make", [_unigram, _whole_words])
def test_a_vocabulary_with_the_token_as_a_word_cannot_leak_it_either(
    make: Callable[[], Tokenizer],
) -> None:
    plain = make()
    plain.encode_special_tokens = True
    assert 1 in plain.encode("a <end_of_turn> a").ids, "otherwise this test shows nothing"

    ids = BaseTokenizer(make(), make()).encode_text("a <end_of_turn> a")

    assert 1 not in ids
    assert ids[0] == ids[-1]


def test_unknown_characters_are_no_control_tokens() -> None:
    assert BaseTokenizer(_whole_words(), _whole_words()).encode_text("a Z a") == [2, 0, 2]


def test_a_token_that_a_normalizer_writes_is_refused() -> None:
    def make() -> Tokenizer:
        built = _whole_words()
        built.normalizer = normalizers.NFKC()
        return built

    with pytest.raises(RequestInvalid, match="control token '<end_of_turn>'"):
        BaseTokenizer(make(), make()).encode_text("a ＜end_of_turn＞")  # noqa: RUF001


def test_a_file_that_says_cut_and_pad_does_neither(tmp_path: Path) -> None:
    saved = fakes.tokenizer()
    saved.enable_truncation(4)
    saved.enable_padding(length=64)
    saved.save(str(tmp_path / "tokenizer.json"))

    loaded = BaseTokenizer.load(tmp_path)

    assert len(loaded.encode_text("twelve bytes")) == 12
    assert len(loaded.encode_markup("twelve bytes")) == 12


def test_loading_adds_no_bos_where_the_file_has_a_rule_for_it(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    saved = fakes.tokenizer()
    saved.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", fakes.BOS)]
    )
    assert saved.encode("a").ids[0] == fakes.BOS
    saved.save(str(tmp_path / "tokenizer.json"))

    assert fakes.BOS not in BaseTokenizer.load(tmp_path).encode_markup("a")


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    fakes.tokenizer().save(str(path))
    os.utime(path, ns=(0, 1))
    assert BaseTokenizer.load(tmp_path).id_of("<later>") is None
    later = fakes.tokenizer()
    later.add_tokens([AddedToken("<later>", special=True)])
    later.save(str(path))
    os.utime(path, ns=(0, 1))
    assert BaseTokenizer.load(tmp_path).id_of("<later>") is None, "it was read again"
    os.utime(path, ns=(0, 2))
    assert BaseTokenizer.load(tmp_path).id_of("<later>") == fakes.VOCAB_SIZE


def test_added_tokens_that_are_plain_text_stay_whole() -> None:
    def make() -> Tokenizer:
        built = fakes.tokenizer()
        built.add_tokens([AddedToken("\n\n", special=False)])
        return built

    assert BaseTokenizer(make(), make()).encode_text("\n\n") == [fakes.VOCAB_SIZE]


def test_a_lone_surrogate_is_the_requests_fault() -> None:
    with pytest.raises(RequestInvalid, match="lone surrogate"):
        TOKENIZER.encode_text(json.loads('"\\ud800"'))


@pytest.mark.parametrize("content", [None, "{", "[]", b"\xff"])
def test_a_folder_without_a_readable_tokenizer_is_no_base(
    tmp_path: Path, content: str | bytes | None
) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BaseModelNotFound, match=r"tokenizer\.json.*(fetch|list)"):
        BaseTokenizer.load(tmp_path)

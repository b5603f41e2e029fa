"""A trimmed base must say what the whole one says, of the text that it was made for."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import dragoman
from adapters.base_model import BaseModelRef, read_card
from adapters.errors import BaseModelNotFound
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.training import tiny
from training.trimmed_base import Vocabulary, read_texts, trim

pytestmark = pytest.mark.train

FRENCH = ["ouvrir le fichier", "fermer le fichier", "enregistrer la cellule", "café à côté"]
RUSSIAN = ["открыть файл", "закрыть файл", "сохранить ячейку"]
CONTROLS = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]


def bilingual_tokenizer() -> Tokenizer:
    """Return a tokenizer like Gemma's: BPE over characters, bytes for what is unknown."""
    built = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    built.normalizer = normalizers.Replace(" ", "▁")
    built.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    as_bytes = [f"<0x{n:02X}>" for n in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=[*CONTROLS, *as_bytes], show_progress=False
    )
    built.train_from_iterator((FRENCH + RUSSIAN) * 5, trainer)
    body = json.loads(built.to_str())
    body["added_tokens"] = [t for t in body["added_tokens"] if t["content"] in CONTROLS]
    return Tokenizer.from_str(json.dumps(body))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tiny.write_base(tmp_path / "whole", vocab_size=960)
    tokenizer = bilingual_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    stop = tokenizer.token_to_id("<end_of_turn>")
    card = {"name": "whole", "prompt": {"stop_token_ids": [stop]}}
    (folder / "dragoman-base.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def logits(folder: Path, ids: list[int]) -> torch.Tensor:
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        out: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return out


def test_what_is_kept_is_encoded_and_scored_as_before(base: Path, tmp_path: Path) -> None:
    made = trim(base, FRENCH, tmp_path / "small", size=1, name="small")
    assert made.vocab_size < made.vocab_size_before - 30
    assert made.scripts == ("LATIN",)
    whole, small = Vocabulary(base), Vocabulary(tmp_path / "small")
    before, after = (
        Tokenizer.from_file(str(f / "tokenizer.json")) for f in (base, tmp_path / "small")
    )
    old = {new: before.token_to_id(token) for token, new in after.get_vocab().items()}
    for text in FRENCH:
        ids = after.encode(text).ids
        assert after.encode(text).tokens == before.encode(text).tokens
        rows = sorted(old)
        expected = logits(base, before.encode(text).ids)[:, [old[row] for row in rows]]
        torch.testing.assert_close(logits(tmp_path / "small", ids)[:, rows], expected)
    assert len(small) < len(whole)


def test_other_text_is_cut_finer_and_nothing_of_it_is_lost(base: Path, tmp_path: Path) -> None:
    trim(base, FRENCH, tmp_path / "small", size=1, name="small")
    small = BaseTokenizer.load(tmp_path / "small")
    for text in RUSSIAN:
        ids = small.encode_text(text)
        assert len(ids) > len(BaseTokenizer.load(base).encode_text(text))
        assert small.decode(ids) == text


def test_room_is_filled_with_the_commonest_of_the_same_scripts(base: Path) -> None:
    vocabulary = Vocabulary(base)
    counts = vocabulary.count(["le"])
    few, more = (vocabulary.choose(counts, size) for size in (1, 400))
    assert len(few) < len(more) <= 400 + 8  # a token brings its parts
    assert set(few) < set(more)
    assert not any("CYRILLIC" in unicodedata.name(c, "") for token in more for c in token)


def test_it_is_a_base_of_its_own_with_its_own_stop_tokens(base: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    trim(base, FRENCH, small, size=1, name="small")
    assert BaseModelRef.read(small).fingerprint != BaseModelRef.read(base).fingerprint
    assert read_card(small)["name"] == "small"
    (stop,) = read_card(small)["prompt"]["stop_token_ids"]
    assert BaseTokenizer.load(small).id_of("<end_of_turn>") == stop


def test_a_tokenizer_without_bytes_is_refused(tmp_path: Path) -> None:
    folder = tiny.write_base(tmp_path / "base")
    with pytest.raises(BaseModelNotFound, match="falls back to bytes"):
        Vocabulary(folder)


def test_the_command_says_what_it_kept(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path / "cache"))
    text = tmp_path / "text.jsonl"
    lines = [json.dumps({"source": "open", "target": line, "n": 1}) for line in FRENCH]
    text.write_text("\n".join(lines), encoding="utf-8")
    assert read_texts(text)[:2] == ["open", FRENCH[0]]
    command = ["base", "trim", str(base), "--as", "small", "--text", str(text), "--json"]
    done = CliRunner().invoke(dragoman.build_app(), [*command, "--size", "300"])
    assert done.exit_code == 0, done.output
    body = json.loads(done.stdout)
    assert Path(body["folder"]).name == "small"
    assert body["vocab_size"] < body["vocab_size_before"] == len(Vocabulary(base))
    with pytest.raises(BaseModelNotFound, match="it is there"):
        CliRunner().invoke(dragoman.build_app(), command, catch_exceptions=False)
    assert body["vocab_size"] > fakes.VOCAB_SIZE

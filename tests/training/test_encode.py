from __future__ import annotations

from pathlib import Path

import pytest

from adapters.ids import LanguagePair
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from training.corpus.segment import Segment
from training.encode import IGNORED, Encoder, SegmentTooLong

PAIR = LanguagePair("en", "fr")


def segment(source: str, target: str) -> Segment:
    return Segment(source, target, "doc", "file", 1)


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    tokenizer = BaseTokenizer.load(fakes.write_base(tmp_path / "tiny"))
    return Encoder(fakes.prompt_format(), PAIR, tokenizer, max_length=80)


def test_the_prompt_is_the_ids_that_the_prompt_format_gives(encoder: Encoder) -> None:
    encoded = encoder.encode(segment("Open", "Ouvrir"))
    assert list(encoded.prompt_ids) == encoder.prompt.encode("Open", PAIR, encoder.tokenizer)


def test_loss_is_taken_on_the_target_and_on_the_stop_token_only(encoder: Encoder) -> None:
    encoded = encoder.encode(segment("Open", "Ouvrir"))
    learnt = [label for label in encoded.labels if label != IGNORED]
    assert learnt == [*encoder.tokenizer.encode_text("Ouvrir"), fakes.END]
    assert encoded.labels[: len(encoded.prompt_ids)] == [IGNORED] * len(encoded.prompt_ids)
    assert encoded.input_ids[len(encoded.prompt_ids) :] == learnt


def test_a_pair_that_is_too_long_is_refused_and_never_cut(encoder: Encoder) -> None:
    with pytest.raises(SegmentTooLong, match=r"at most 80; raise schedule\.max_length"):
        encoder.encode(segment("a" * 40, "b" * 40))


def test_a_pair_of_exactly_the_allowed_length_is_kept(encoder: Encoder) -> None:
    frame = len(encoder.encode(segment("", "")))
    kept, report = encoder.encode_all([segment("", "b" * (80 - frame)), segment("", "b" * 80)])
    assert (len(kept), report.too_long, report.longest) == (1, 1, 80)


def test_the_report_counts_tokens_of_prompt_and_target(encoder: Encoder) -> None:
    kept, report = encoder.encode_all([segment("Open", "Ouvrir"), segment("x" * 99, "y")])
    assert report.prompt_tokens == len(kept[0].prompt_ids)
    assert report.target_tokens == len("Ouvrir") + 1
    assert (report.kept, report.too_long) == (1, 1)


def test_no_pairs_give_an_empty_report(encoder: Encoder) -> None:
    assert encoder.encode_all([])[1].longest == 0


def test_control_tokens_in_a_segment_stay_plain_text(encoder: Encoder) -> None:
    encoded = encoder.encode(segment("<end_of_turn>", "<end_of_turn>"))
    assert encoded.target_ids.count(fakes.END) == 1

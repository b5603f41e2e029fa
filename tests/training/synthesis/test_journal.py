from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import DataInvalid, SynthesisFailed
from training.synthesis.journal import Journal, journal_of
from training.synthesis.translator import Answer, Fault, Job

ENGINE = {"engine": "fake", "model": "one"}
ANSWER = Answer("Enregistrer\n", -0.25, 12, 3, 2)


def journal(folder: Path, **changes: str) -> Journal:
    return Journal(folder / "out.jsonl.journal", {**ENGINE, **changes})


def test_it_lies_beside_the_output() -> None:
    assert journal_of(Path("a/synthetic.jsonl")) == Path("a/synthetic.jsonl.journal")


def test_what_was_added_is_found_now_and_later(tmp_path: Path) -> None:
    with journal(tmp_path) as first:
        first.add(Job("Save"), ANSWER)
        assert first.get(Job("Save")) == ANSWER
    with journal(tmp_path) as second:
        assert len(second) == 1
        assert Job("Save") in second
        assert second.get(Job("Save")) == ANSWER
        assert second.get(Job("Save", sample=1)) is None
        assert second.get(Job("save")) is None


@settings(max_examples=30)
@given(text=st.text(st.characters(exclude_categories=())), answer=st.text())
def test_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, text: str, answer: str
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with journal(folder) as one:
        one.add(Job(text), Answer(answer))
        one.add(Job(text, 1), Answer("other"))
        assert one.get(Job(text)) == Answer(answer)
    with journal(folder) as again:
        assert again.get(Job(text)) == Answer(answer)


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_half_line_of_a_killed_process_is_cut_off(tmp_path: Path, cut: int) -> None:
    with journal(tmp_path) as first:
        first.add(Job("a"), ANSWER)
        first.add(Job("b"), ANSWER)
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[:-cut])
    with journal(tmp_path) as second:
        assert (Job("a") in second, Job("b") in second) == (True, False)
        second.add(Job("b"), ANSWER)
    assert first.path.read_bytes() == whole


def test_a_cut_head_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.journal"
    path.write_bytes(b'{"engine"')
    with journal(tmp_path) as one:
        one.add(Job("a"), ANSWER)
    assert json.loads(path.read_text().splitlines()[0])["engine"] == ENGINE


def test_answers_of_another_engine_are_kept_and_not_used(tmp_path: Path) -> None:
    with journal(tmp_path) as first:
        first.add(Job("a"), ANSWER)
    with journal(tmp_path, model="two") as second:
        assert (len(second), second.others) == (0, 1)
        second.add(Job("a"), Answer("other"))
    with journal(tmp_path) as third:
        assert third.get(Job("a")) == ANSWER
        assert third.others == 1


@pytest.mark.parametrize(("fault", "is_kept"), [
    (Fault.CUT, True), (Fault.REFUSED, False), (Fault.UNANSWERED, False),
])  # fmt: skip
def test_only_what_would_be_the_same_again_is_kept(
    tmp_path: Path, fault: Fault, is_kept: bool
) -> None:
    with journal(tmp_path) as one:
        one.add(Job("a"), Answer("x", fault=fault))
        assert (Job("a") in one) == is_kept
        if is_kept:
            assert one.get(Job("a")) == Answer("x", fault=fault)


def test_two_runs_do_not_write_one_journal(tmp_path: Path) -> None:
    with journal(tmp_path), pytest.raises(SynthesisFailed, match="another run"):
        journal(tmp_path).__enter__()
    with journal(tmp_path):
        pass


@pytest.mark.parametrize("line", [b"\x00\x00\n", b"[]\n", b'{"source": "a"}\n', b"\xff\n"])
def test_a_file_that_is_no_journal_is_told_and_left_alone(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "out.jsonl.journal"
    path.write_bytes(line)
    with pytest.raises(DataInvalid, match=r"out\.jsonl\.journal:1: "):
        journal(tmp_path).__enter__()
    assert path.read_bytes() == line

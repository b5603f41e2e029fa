from __future__ import annotations

import time

import pytest

from adapters import console


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (42.4, "0:42"), (725, "12:05"), (3723, "1:02:03")]
)
def test_a_time_span_reads_as_a_clock(seconds: float, shown: str) -> None:
    assert console.clock(seconds) == shown


def test_progress_tells_rate_and_time_left_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 1.0, 20.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    with console.progress("reading", 4000) as advance:
        advance(100)
        advance(900)
    assert capsys.readouterr().err == "reading: 1000/4000, 50/s, 1:00 left\n"


def test_progress_without_an_end_tells_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 20.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    with console.progress("reading") as advance:
        advance(10)
    assert capsys.readouterr().err == "reading: 10, 0.5/s\n"

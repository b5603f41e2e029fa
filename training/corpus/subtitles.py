"""Subtitles (SRT, WebVTT) in two languages, aligned by when they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from adapters.errors import DataInvalid
from training.corpus.lines import numbered_lines
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.whole_file import check_size

_TIME: Final = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{2})[,.](\d{3})"
_TIMES: Final = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
# Of the time that two cues take together, so much must be of both.
_SHARED: Final = 0.5
_MOST_CUES: Final = 3


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from `start_s` to `end_s`, its lines joined."""

    start_s: float
    end_s: float
    text: str
    line: int


def read_subtitles(source: Path, target: Path, how: Reading) -> Iterator[Segment]:
    """Yield the cues that are shown at the same time in both files. Raises DataInvalid.

    A cue that the other language shows as two or three is paired with all of them; cues whose
    times do not fit (under half in common) are left out.
    """
    ours, theirs = (list(cues(path, how)) for path in (source, target))
    for left, right in _groups(ours, theirs):
        if _shared(left, right) >= _SHARED:
            said, translated = (" ".join(cue.text for cue in side) for side in (left, right))
            yield Segment(said, translated, target.stem, str(target), right[0].line)


def cues(path: Path, how: Reading) -> Iterator[Cue]:
    """Yield the cues of one file. Raises DataInvalid with path:line."""
    check_size(path)
    lines: list[str] = []
    start = 0
    for number, line in chain(numbered_lines(path, how), ((0, ""),)):
        if line.strip():
            lines.append(line.strip())
            start = start if len(lines) > 1 else number
            continue
        if not lines:
            continue
        place = next((i for i, row in enumerate(lines[:2]) if "-->" in row), None)
        if place is not None:
            times = _TIMES.fullmatch(lines[place])
            if times is None:
                how.found_bad(
                    DataInvalid(
                        f"{path}:{start + place}: expected times such as 00:01:02,500 --> "
                        f"00:01:04,000, found {lines[place]!r:.80}"
                    )
                )
            else:
                begin, end = _seconds(times.groups()[:4]), _seconds(times.groups()[4:])
                yield Cue(begin, end, " ".join(lines[place + 1 :]), start)
        lines = []


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, thousandths = (int(part or 0) for part in parts)
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000


def _groups(ours: Sequence[Cue], theirs: Sequence[Cue]) -> Iterator[tuple[list[Cue], list[Cue]]]:
    """Yield cues that overlap for more than half of the shorter one, with all of each other's."""
    left: list[Cue] = []
    right: list[Cue] = []
    for a, b in _overlapping(ours, theirs):
        if left and a is not left[-1] and b is not right[-1]:
            yield left, right
            left, right = [], []
        left += [] if left and left[-1] is a else [a]
        right += [] if right and right[-1] is b else [b]
    if left:
        yield left, right


def _overlapping(ours: Sequence[Cue], theirs: Sequence[Cue]) -> Iterator[tuple[Cue, Cue]]:
    i = j = 0
    while i < len(ours) and j < len(theirs):
        a, b = ours[i], theirs[j]
        shorter_s = min(a.end_s - a.start_s, b.end_s - b.start_s)
        if _overlap_s(a, b) > 0.5 * shorter_s:
            yield a, b
        if a.end_s <= b.end_s:
            i += 1
        else:
            j += 1


def _shared(left: Sequence[Cue], right: Sequence[Cue]) -> float:
    is_shown = all(any(cue.text for cue in side) for side in (left, right))
    if not is_shown or max(len(left), len(right)) > _MOST_CUES:
        return 0.0
    begin = max(left[0].start_s, right[0].start_s)
    end = min(left[-1].end_s, right[-1].end_s)
    whole = max(left[-1].end_s, right[-1].end_s) - min(left[0].start_s, right[0].start_s)
    return (end - begin) / whole if whole > 0 else 0.0


def _overlap_s(a: Cue, b: Cue) -> float:
    return min(a.end_s, b.end_s) - max(a.start_s, b.start_s)

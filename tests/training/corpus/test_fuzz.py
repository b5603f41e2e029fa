"""Whatever a file holds, its reader gives segments, or says where it is bad; nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.errors import DataInvalid
from tests.training.corpus.breakage import broken, broken_inside
from tests.training.corpus.samples import EN_FR, GOOD, read, source_of
from training.corpus.formats import FORMATS
from training.corpus.reading import Reading

KINDS = sorted(GOOD)
FAST = settings(
    max_examples=12, deadline=timedelta(seconds=10), derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
LONG = settings(FAST, max_examples=250, derandomize=False)


def hold(kind: str, folder: Path, data: bytes) -> None:
    """Read `data` twice: as it is, and with what is bad left out, which raises nothing."""
    one = source_of(kind, folder, data)
    name = f"fr{GOOD[kind][0]}"
    told = None
    try:
        found = read(one, folder, one.reading([EN_FR]))
        assert all(text.encode() is not None for pair in found for text in pair)
    except DataInvalid as error:
        told = str(error)
        assert name in told or f"en{GOOD[kind][0]}" in told
    how: Reading = one.reading([EN_FR], skip_bad=True)
    read(one, folder, how)
    assert (how.bad > 0) == (told is not None)
    assert told is None or told == how.shown[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def test_every_format_has_a_sample(folder: Path) -> None:
    assert {kind.partition(" ")[0] for kind in KINDS} == {*FORMATS, "text"}
    for kind in KINDS:
        one = source_of(kind, folder, GOOD[kind][1])
        assert read(one, folder, one.reading([EN_FR]))


@pytest.mark.parametrize("kind", KINDS)
@FAST
@given(data=st.data())
def test_a_broken_file_gives_segments_or_one_error(
    kind: str, folder: Path, data: st.DataObject
) -> None:
    hold(kind, folder, data.draw(broken(GOOD[kind][1])))


@FAST
@given(data=broken_inside(GOOD["xlsx"][1]))
def test_a_broken_workbook_gives_segments_or_one_error(folder: Path, data: bytes) -> None:
    hold("xlsx", folder, data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@LONG
@given(data=st.data())
def test_no_broken_file_does_more_harm(kind: str, folder: Path, data: st.DataObject) -> None:
    hold(kind, folder, data.draw(broken(GOOD[kind][1])))


@pytest.mark.slow
@LONG
@given(data=broken_inside(GOOD["xlsx"][1]))
def test_no_broken_workbook_does_more_harm(folder: Path, data: bytes) -> None:
    hold("xlsx", folder, data)

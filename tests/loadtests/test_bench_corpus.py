"""The files of the readers' bench hold what they should, so that its rates are of reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.ids import LanguagePair
from loadtests.bench_corpus import table
from loadtests.corpus_files import FORMATS, made_pairs, write_pairs
from training.corpus.source import Source

EN_FR = LanguagePair("en", "fr")


@pytest.mark.parametrize("name", FORMATS)
def test_every_made_file_is_read_back(tmp_path: Path, name: str) -> None:
    files = write_pairs(name, tmp_path, 25)
    one = Source.model_validate({name: FORMATS[name].where, "licence": "CC0-1.0"})
    places = one.places(tmp_path, [EN_FR])
    assert [file for place in places for file in place.files] == files
    found = one.read(places, [EN_FR], one.reading([EN_FR]))
    assert [(segment.source, segment.target) for segment in found] == list(made_pairs(25))


def test_a_peer_is_told_beside_our_reader() -> None:
    row = {"units_per_s": 100, "seconds": 2.0, "megabytes": 4.0, "peak_rss_mb": 50}
    lines = table({"tmx": row, "tmx by hand": {**row, "units_per_s": 50}, "tsv": row}).splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["50", "2.0x", "50"]

"""One file, charged by several processes at once, some of which are killed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from serving.door.ledger import Use
from serving.door.ledgers.sqlite import SqliteLedger
from tests.serving.door.charging import EACH, KEY, PERIOD, charging

pytestmark = pytest.mark.slow


def test_a_quota_is_exact_over_processes(tmp_path: Path) -> None:
    file = tmp_path / "u.sqlite"
    with charging(str(file), processes=4, charges=50) as processes:
        admitted = [process.admitted() for process in processes]
    assert sum(admitted) == 1000 // 7 == 142
    assert SqliteLedger(file).used(KEY, PERIOD) == Use(142 * 7)


def test_what_a_killed_process_had_admitted_stays_charged(tmp_path: Path) -> None:
    file = tmp_path / "u.sqlite"
    with charging(str(file), processes=3) as processes:
        time.sleep(0.3)
        for process in processes:
            process.kill()
        admitted = sum(process.admitted() for process in processes)
    charged = SqliteLedger(file).used(KEY, PERIOD).characters // EACH.characters
    assert admitted > 100
    # What was charged and killed before it could be told is one charge of each at most.
    assert admitted <= charged <= admitted + 3

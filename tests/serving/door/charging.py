"""A process that charges a key: python -m tests.serving.door.charging URL CHARGES.

Charges seven characters of a quota of a thousand (or without end and quota, with 0 charges), and
prints a line for each that was admitted once it was.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from serving.door.key import Quota
from serving.door.ledger import Use, open_ledger

KEY, PERIOD, EACH = "acme", "2026-11", Use(7)
_READY = b"ready\n"


def main(url: str, charges: int) -> None:
    ledger = open_ledger(url, Path())
    ledger.check()
    os.write(1, _READY)
    sys.stdin.readline()
    quota = Quota(characters=1000) if charges else Quota()
    for _ in range(charges) if charges else count():
        if ledger.charge(KEY, PERIOD, EACH, quota):
            os.write(1, b"1\n")


@contextmanager
def charging(url: str, *, processes: int, charges: int = 0) -> Iterator[list[Charging]]:
    """Yield processes that have all begun to charge, at once; those that still run are killed."""
    command = [sys.executable, "-m", __name__, url, str(charges)]
    root = Path(__file__).parents[3]
    started = [
        subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == _READY
        for process in started:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        yield [Charging(process) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


class Charging:
    """One such process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._process.kill()

    def admitted(self) -> int:
        """Return how many of its charges were admitted, once it has ended."""
        out, _ = self._process.communicate(timeout=60)
        return out.count(b"1\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

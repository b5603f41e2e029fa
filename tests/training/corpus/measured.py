"""Reading in a process of its own: what came of it, how long it took, and its peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# 4 GiB of addresses: what grows without bound fails here, and not the machine.
_READ = r"""
import json, re, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
from pathlib import Path
from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.source import Source

def peak():
    # After exec, the peak of getrusage is still that of the process that started this one.
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

keys, folder, skip_bad = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "True"
pair = LanguagePair("en", "fr")
one = Source.model_validate({"licence": "CC0-1.0", **keys})
how = one.reading([pair], skip_bad=skip_bad)
error, count = "", 0
before = peak()
began = time.process_time()
try:
    for _ in one.read(one.places(folder, [pair]), [pair], how):
        count += 1
except DataInvalid as refused:
    error = str(refused)
took = time.process_time() - began
print(json.dumps([count, how.bad, error or "".join(how.shown[:1]), (peak() - before) / 1024, took]))
"""


@dataclass(frozen=True)
class Measured:
    """What reading gave; `grown_mib` is the peak of memory beyond that of the imports.

    `seconds` are the processor's, since something else may run beside it.
    """

    segments: int
    bad: int
    error: str
    grown_mib: float
    seconds: float


def measured(keys: dict[str, object], folder: Path, *, skip_bad: bool = True) -> Measured:
    """Read the source of `keys` in `folder` and return what came of it."""
    command = [sys.executable, "-c", _READ, json.dumps(keys), str(folder), str(skip_bad)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    return Measured(*json.loads(done.stdout))

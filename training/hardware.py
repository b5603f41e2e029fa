"""What a run was done on, for the record."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def hardware() -> str:
    """Return the processor that this runs on, for the record."""
    return f"{cores()} CPU cores ({_cpu_name()})"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

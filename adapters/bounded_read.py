"""Small files of a registry: none makes its reader wait, or fills its memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

# Ours have a few kilobytes; a recipe with long texts, or a config of many patterns, some hundred.
SMALL_BYTES: Final = 4 * 2**20


def read_small(path: Path, *, limit_bytes: int = SMALL_BYTES) -> bytes:
    """Return the content of a regular file of at most `limit_bytes`. Raises OSError otherwise."""
    # A pipe would block the opening until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise OSError(errno.EFBIG, f"larger than {limit_bytes} bytes", str(path))
    return content

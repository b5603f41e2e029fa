"""The memory of this machine that a run may have: of the host, and of its control group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_NO_LIMIT: Final = 1 << 60
# (name of the limit, of what is used, and of the page cache that the kernel gives back first)
_V2: Final = ("memory.max", "memory.current", "inactive_file")
_V1: Final = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that can be had now, or None where the system does not say.

    They are the least of MemAvailable and of what each control group leaves free.
    """
    found = [free for free in (_host(root), *_groups(root)) if free is not None]
    return min(found) if found else None


def _host(root: Path) -> int | None:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _groups(root: Path) -> Iterator[int | None]:
    mount = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _up(mount, path, _V2)
        elif "memory" in controllers.split(","):
            yield from _up(mount / "memory", path, _V1)


def _up(mount: Path, path: str, names: tuple[str, str, str]) -> Iterator[int | None]:
    # A limit of any group above binds as well. In a container the path may be the host's: then
    # the mount itself is the container's own group.
    folder = mount / path.strip("/")
    for group in (folder, *folder.parents):
        if group == mount or mount in group.parents:
            yield _free(group, names)


def _free(group: Path, names: tuple[str, str, str]) -> int | None:
    limit, used = _number(group / names[0]), _number(group / names[1])
    if limit is None or used is None or limit >= _NO_LIMIT:
        return None
    stat = dict(line.split() for line in _lines(group / "memory.stat"))
    return max(0, limit - used + int(stat.get(names[2], 0)))


def _number(file: Path) -> int | None:
    text = "".join(_lines(file))
    return int(text) if text.isdigit() else None  # "max" is no limit


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []

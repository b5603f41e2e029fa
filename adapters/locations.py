"""Where Dragoman keeps things on this machine: downloaded bases, the local registry, runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return DRAGOMAN_HOME, or `dragoman` in the user's cache folder."""
    if home := os.environ.get("DRAGOMAN_HOME"):
        return Path(home).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "dragoman"


def bases_root() -> Path:
    """Return the folder of base models that `dragoman base fetch` made."""
    return cache_root() / "bases"


def default_registry() -> Path:
    """Return DRAGOMAN_REGISTRY, or `registry` in the cache folder."""
    if registry := os.environ.get("DRAGOMAN_REGISTRY"):
        return Path(registry).expanduser()
    return cache_root() / "registry"

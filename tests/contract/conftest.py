"""What tests that configure vLLM in this process leave behind."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def unchanged_environment() -> Iterator[None]:
    """Undo what vLLM's CPU platform writes into the environment, LD_PRELOAD among it.

    Every server that a later test starts would inherit it.
    """
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)

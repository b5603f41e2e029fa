"""What holds for all tests: what is the same in each of them is done once."""

from __future__ import annotations

import functools
import gc
from collections.abc import Generator, Iterator

import pytest
import typer.main
import typer.testing

import dragoman


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, and keep it from what collection loaded for good.

    torch, transformers and vLLM are millions of objects that never die. Every sweep while they are
    imported, and every `gc.collect()` in a test, would go through all of them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _command_tree() -> Iterator[None]:
    """Build the command tree once: 40 ms, and hundreds of tests type a command."""
    get_command = functools.cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dragoman, "build_app", functools.cache(dragoman.build_app))
        patch.setattr(typer.main, "get_command", get_command)
        patch.setattr(typer.testing, "_get_command", get_command)
        yield

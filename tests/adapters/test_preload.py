"""What is preloaded beside what the environment already names."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters import preload

FOUND = [Path("/lib/libtcmalloc_minimal.so.4"), Path("/venv/lib/libiomp5.so")]


@pytest.fixture(autouse=True)
def both_libraries_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preload, "preload_libraries", lambda: FOUND)


def test_both_are_added_to_what_is_named() -> None:
    wanted = f"/mine.so:{FOUND[0]}:{FOUND[1]}"
    assert preload.preload_env({"LD_PRELOAD": "/mine.so"}) == {"LD_PRELOAD": wanted}


def test_a_child_that_has_both_gets_nothing() -> None:
    assert preload.preload_env({"LD_PRELOAD": f"{FOUND[0]} {FOUND[1]}"}) == {}


@pytest.mark.parametrize("runtime", ["/torch.libs/libgomp-1a2b.so.1.0.0", "/x/libomp.so.5"])
def test_no_second_openmp_runtime_is_added(runtime: str) -> None:
    assert preload.preload_env({"LD_PRELOAD": runtime}) == {"LD_PRELOAD": f"{runtime}:{FOUND[0]}"}

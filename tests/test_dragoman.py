from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dragoman
from adapters.errors import AdapterNotFound

HEAVY = ("torch", "vllm", "transformers", "peft", "trl", "datasets", "accelerate", "sacrebleu")


def python(code: str, *, path: Path | None = None, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code with our checkout on the path, behind `path` if given, outside the checkout."""
    ours = Path(dragoman.__file__).parent
    paths = [*([str(path)] if path else []), str(ours)]
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"},
        timeout=60,
    )


def test_help_imports_nothing_heavy_and_works_outside_the_checkout(tmp_path: Path) -> None:
    code = (
        "import sys, dragoman\n"
        "sys.argv = ['dragoman', '--help']\n"
        "try: dragoman.main()\n"
        f"finally: print('heavy:', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    ran = python(code, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "heavy: []"
    for command in ("base", "data", "train", "adapters", "serve"):
        assert command in ran.stdout


def test_a_foreign_adapters_package_is_found_before_it_is_imported(tmp_path: Path) -> None:
    foreign = tmp_path / "site" / "adapters"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("raise ImportError('no transformers here')")
    code = "import sys, dragoman; sys.argv = ['dragoman', 'adapters', 'list']; dragoman.main()"
    ran = python(code, path=tmp_path / "site", cwd=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error[start_refused]: `import adapters` finds ")
    assert str(foreign) in ran.stderr
    assert "pip uninstall adapters" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_foreign_package_installed_over_ours_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dragoman.foreign_adapters() is None
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "__init__.py").write_text('__version__ = "1.2.0"')
    monkeypatch.setattr(dragoman, "__file__", str(tmp_path / "dragoman.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "adapters")
    assert "pip uninstall adapters" in (dragoman.foreign_adapters() or "")


@pytest.fixture
def _failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def app(**_: object) -> None:
        raise AdapterNotFound("what; next step")

    monkeypatch.setattr(dragoman, "build_app", lambda: app)


@pytest.mark.usefixtures("_failing")
def test_an_error_is_one_line_with_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dragoman", "x"])
    with pytest.raises(SystemExit) as caught:
        dragoman.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error[adapter_not_found]: what; next step\n"


@pytest.mark.usefixtures("_failing")
def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dragoman", "x", "--debug"])
    with pytest.raises(AdapterNotFound):
        dragoman.main()


def test_an_unforeseen_error_is_one_line_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(**_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(dragoman, "build_app", lambda: app)
    monkeypatch.setattr(sys, "argv", ["dragoman"])
    with pytest.raises(SystemExit):
        dragoman.main()
    err = capsys.readouterr().err
    assert err.startswith("error[internal_error]: ZeroDivisionError: division by zero; --debug")
    assert err.count("\n") == 1


def test_debug_after_two_dashes_is_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def app(*, args: list[str], prog_name: str) -> None:
        seen.append(args)

    monkeypatch.setattr(dragoman, "build_app", lambda: app)
    monkeypatch.setattr(sys, "argv", ["dragoman", "serve", "--debug", "--", "--x", "--debug"])
    dragoman.main()
    assert seen == [["serve", "--", "--x", "--debug"]]


def test_a_reader_that_closed_the_pipe_is_no_error(tmp_path: Path) -> None:
    code = "import sys, dragoman; sys.argv = ['dragoman', '--help']; dragoman.main()"
    ours = Path(dragoman.__file__).parent
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-u", "-c", code],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ours)},
    )
    os.close(writer)
    assert "Traceback" not in ran.stderr
    assert "error[" not in ran.stderr

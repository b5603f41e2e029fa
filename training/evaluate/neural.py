"""Neural metrics, COMET and MetricX, by the user's own installation of either.

What they need cannot stand beside what we need (unbabel-comet 2.2.7: numpy below 2, transformers
below 5), so each is a command of its own that is given files and writes one.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from adapters.errors import MetricFailed
from training.evaluate.metrics import Scored
from training.evaluate.neural_tools import Texts, Tool, tool_of

_UNKNOWN: Final = "unknown"
_PYTHON: Final = re.compile(r"python[\d.]*")
# What pip writes into a command: the interpreter, or a shell that calls it if its path is long.
_SHEBANG: Final = re.compile(
    rf"""^\#!\s*(?P<plain>\S*{_PYTHON.pattern})(?!\S) | ^'''exec'\s"?(?P<long>[^"]+?)"?\s"\$0" """,
    re.VERBOSE | re.MULTILINE,
)
_SHOWN: Final = 300


@dataclass(frozen=True)
class NeuralScored(Scored):
    """The mean over segments, and each segment's score on the same scale, in order.

    COMET is given times 100, as it is published; MetricX as it is, an error from 0 to 25.
    """

    segments: tuple[float, ...]
    lower_is_better: bool


@dataclass(frozen=True)
class NeuralMetric:
    """A metric by the command that computes it, with its model and all other options.

    name: has comet or metricx in it, which tells the form of the files: COMET, xCOMET-XL,
    MetricX-24. `folder` is where the command runs.
    """

    name: str
    command: tuple[str, ...]
    folder: Path | None = None

    def score(
        self,
        sources: Sequence[str],
        hypotheses: Sequence[str],
        references: Sequence[str] | None = None,
    ) -> NeuralScored:
        """Return the scores; without references, which not every model needs, by the source alone.

        Raises MetricFailed. Leaves nothing behind.
        """
        texts = Texts(sources, hypotheses, references)
        counts = {len(each) for each in (sources, hypotheses, references) if each is not None}
        if len(counts) != 1 or counts == {0}:
            raise MetricFailed(
                f"{self.name}: expected as many sources, hypotheses and references, at least one, "
                f"found {sorted(counts)}; give each segment all of its texts"
            )
        found = self._segments(texts)
        return NeuralScored(
            value=math.fsum(found) / len(found),
            signature=self.signature(by_reference=references is not None),
            segments=found,
            lower_is_better=self._tool.lower_is_better,
        )

    @property
    def _tool(self) -> Tool:
        if (tool := tool_of(self.name)) is not None:
            return tool
        raise MetricFailed(
            f"metric {self.name!r}: expected a name with comet or metricx in it, such as COMET, "
            "xCOMET-XL or MetricX-24; rename it"
        )

    def _segments(self, texts: Texts) -> tuple[float, ...]:
        tool = self._tool
        with TemporaryDirectory(prefix="dragoman-metric-") as name:
            folder = Path(name)
            here = {key: str(folder / value) for key, value in tool.environment.items()}
            self._run([*self.command, *tool.arguments(self.command, folder, texts)], here)
            try:
                found = tuple(tool.scale * float(score) for score in tool.read(folder))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise MetricFailed(
                    f"{self.name}: {self.command[0]} has ended well but left no scores that can be "
                    f"read ({type(error).__name__}: {error}); {tool.install}"
                ) from error
        if len(found) != len(texts.sources) or not all(map(math.isfinite, found)):
            raise MetricFailed(
                f"{self.name}: expected {len(texts.sources)} finite scores, found "
                f"{sum(map(math.isfinite, found))} of {len(found)}; run {self._told} by hand"
            )
        return found

    def _run(self, command: Sequence[str], more: Mapping[str, str]) -> None:
        try:
            subprocess.run(
                command, check=True, capture_output=True, cwd=self.folder, env=_environment(more)
            )
        except OSError as error:
            raise MetricFailed(
                f"{self.name}: {command[0]} cannot be run ({error}); {self._tool.install}"
            ) from error
        except subprocess.CalledProcessError as error:
            lines = bytes(error.stderr).decode(errors="replace").strip().splitlines() or ["nothing"]
            raise MetricFailed(
                f"{self.name}: {command[0]} ended with status {error.returncode} and said "
                f"{lines[-1].strip()[-_SHOWN:]!r}; run {self._told} by hand"
            ) from error

    def signature(self, *, by_reference: bool) -> str:
        """Return what the scores depend on: metric, model, and the version of the tool."""
        tool = self._tool
        marks = tool.marks(self.command)
        name, asking = tool.version(self.command)
        parts = {
            "metric": self.name,
            **marks,
            "model": _identity(marks["model"], self.folder or Path()),
            "references": "yes" if by_reference and "--qe" not in self.command else "no",
            name: self._asked(asking),
        }
        return "|".join(f"{key}:{value}" for key, value in parts.items())

    def _asked(self, code: str) -> str:
        python = _python_of(self.command[0], self.folder or Path())
        if python is None:
            return _UNKNOWN
        run = subprocess.run(
            [python, "-c", code],
            check=False,
            capture_output=True,
            cwd=self.folder,
            env=_environment({}),
        )
        return run.stdout.decode(errors="replace").strip() or _UNKNOWN

    @property
    def _told(self) -> str:
        return shlex.join(self.command)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    # Our allocator and OpenMP runtime are not for another torch.
    return {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"} | {**more}


def _identity(model: str, folder: Path) -> str:
    """Return the name on the hub; of a local model its name without the way to it, and a digest."""
    path = folder / model
    if not path.exists():
        return model
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file()):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return f"{path.name} sha256-{digest.hexdigest()[:8]}"


def _python_of(program: str, folder: Path) -> str | None:
    """Return the interpreter that runs `program`: itself, or that of its first line."""
    if _PYTHON.fullmatch(Path(program).name):
        return program
    path = folder / program if "/" in program else shutil.which(program)
    if path is None or not Path(path).is_file():
        return None
    with Path(path).open("rb") as opened:
        found = _SHEBANG.search(opened.read(4096).decode(errors="replace"))
    return found and (found["plain"] or found["long"])

"""A training as a contender: a run of its own process, whose memory is free when it is done."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from adapters.console import note
from adapters.errors import TrainingFailed
from adapters.locations import bases_root
from training import prepare
from training.base_models import resolve_base
from training.comparison.answered import Answered
from training.comparison.figures import of_run, sessions_of, told
from training.comparison.folder import read_json
from training.comparison.ground import Ground, check_same_test
from training.comparison.modelled import translated
from training.corpus.source import digest_of
from training.recipe import Recipe
from training.run_folder import STATE_FILE, RunFolder
from training.translate.opening import Languages, open_folder
from training.translate.translator import Decoder

_ERROR: Final = "error["
_LAST_LINES: Final = 20


@dataclass(frozen=True)
class TrainingPlan:
    """What `dragoman train` is told: the recipe's file, where its paths start, and the changes.

    `made` are files of pairs that this comparison made and the run reads. With `holds_out_ours`
    the run is given what the comparison holds out, else it divides its text itself.
    """

    name: str
    file: Path
    folder: Path
    overrides: Sequence[str]
    made: Sequence[Path] = ()
    holds_out_ours: bool = False
    allow_memory: bool = False

    def recipe(self) -> Recipe:
        """Return the recipe as the run will have it. Raises RecipeInvalid."""
        return Recipe.load(str(self.file), overrides=self.overrides, folder=self.folder)

    def command(self, out: Path, registry: Path | None) -> list[str]:
        """Return the command of the run; it goes on where an earlier one stopped."""
        changes = [word for change in self.overrides for word in ("--set", change)]
        where = ["--data", str(self.folder), "--out", str(out)]
        where += [] if registry is None else ["--registry", str(registry)]
        more = ["--allow-memory"] if self.allow_memory else []
        head = [sys.executable, "-m", "dragoman", "train", str(self.file)]
        return [*head, *changes, *where, "--resume", "--fit-only", "--json", *more]


@dataclass(frozen=True)
class TrainedContender:
    """A recipe that is trained, and then translates."""

    ground: Ground
    plan: TrainingPlan
    registry_root: Path | None = None

    def identity(self) -> Mapping[str, Any]:
        """Return the recipe, and what was made for it."""
        return {"recipe": self.plan.recipe().digest, "made": digest_of(list(self.plan.made))}

    def answer(self) -> Answered:
        """Train and return the translations. Raises TrainingFailed, DataInvalid."""
        recipe, root = self.plan.recipe(), self.ground.folder.run(self.plan.name)
        if not _is_fitted(root, recipe):
            command = self.plan.command(root, self.registry_root)
            run_to_end(command, self.plan.name)
        data = prepare.load(RunFolder(root).data)
        check_same_test(self.ground, self.plan.name, recipe, data)
        figures = of_run(root, self._base_parameters(recipe))
        decoder = Decoder(batch_size=recipe.evaluate.batch_size)
        translator = open_folder(root, languages=Languages(), decoder=decoder)
        answered = translated(translator, self.ground.test, told(figures.figures))
        sessions = sessions_of(root)
        notes = {"training time": f"of the last of {sessions} sessions"} if sessions > 1 else {}
        trained = replace(figures, figures={**figures.figures, "recipe_digest": recipe.digest})
        return replace(answered, trained=trained, notes=notes)

    def _base_parameters(self, recipe: Recipe) -> int:
        if recipe.base == self.ground.recipe.base:
            return self.ground.base_parameters
        base = resolve_base(recipe.base, root=bases_root(), say=note)
        return replace(self.ground, base=base).base_parameters


def run_to_end(command: Sequence[str], name: str) -> None:
    """Run a training; what it says on stderr is said here. Raises TrainingFailed with its error.

    An interrupt is handed on, so that it writes its checkpoint, and raised when it has ended.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    # In a session of its own: Ctrl-C on the terminal reaches it once, from here.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            _pass_on(process, last)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            try:
                _pass_on(process, last)
            except KeyboardInterrupt:  # asked again: at once
                process.kill()
            raise
        finally:
            _end(process)
    if process.returncode:
        raise TrainingFailed(_error_of(last, process.returncode, name))


def _pass_on(process: subprocess.Popen[str], last: deque[str]) -> None:
    for line in process.stderr or ():
        last.append(line.rstrip())
        note(f"  {line.rstrip()}")
    process.wait()


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()


def _error_of(last: Sequence[str], code: int, name: str) -> str:
    started = [number for number, line in enumerate(last) if line.startswith(_ERROR)]
    if started:
        return " ".join(list(last)[started[-1] :])
    how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
    return f"{name}: training {how}, after {last[-1] if last else ''!r}"


def _is_fitted(root: Path, recipe: Recipe) -> bool:
    """Whether the run of this recipe in `root` has its weights already."""
    state = read_json(root / STATE_FILE) or {}
    done = RunFolder(root).result("fit") is not None and RunFolder(root).adapter.is_dir()
    return done and state.get("recipe") == recipe.digest

"""One fit on a tiny model, for tests that kill the process it runs in or start several."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.training import tiny
from training.encode import Encoded
from training.fit import checkpoints
from training.fit.dev_texts import DevTexts
from training.fit.result import FitProgress, FitResult
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.methods.config import Method

METHOD: TypeAdapter[Method] = TypeAdapter(Method)


def fit_once(
    base: Path,
    out: Path,
    method: dict[str, Any],
    schedule: dict[str, Any],
    *,
    rows: int = 22,
    **options: Any,
) -> FitResult:
    """Fit `rows` lessons with one thread, five of them as dev."""
    torch.set_num_threads(1)
    lessons = tiny.lessons(base, rows)
    return fit(
        lessons,
        lessons[:5],
        base,
        METHOD.validate_python(method),
        Schedule.model_validate(schedule),
        out,
        dev_texts=dev_texts(base, lessons[:5]),
        **options,
    )


def dev_texts(base: Path, rows: list[Encoded]) -> DevTexts:
    """Return the rows as texts to be translated."""
    tokenizer = BaseTokenizer.load(base)
    return DevTexts(
        prompts=[row.prompt_ids for row in rows],
        max_tokens=[12] * len(rows),
        references=[tokenizer.decode(list(row.target_ids[:-1])) for row in rows],
        stop_token_ids=[fakes.END],
        tokenizer=tokenizer,
    )


def in_process(kill: Mapping[str, int], arguments: tuple[Any, ...], options: Any) -> None:
    """Fit; kill this process at a step's end, or in the middle of a step's checkpoint."""

    def on_progress(progress: FitProgress) -> None:
        if progress.step == kill.get("step"):
            os.kill(os.getpid(), signal.SIGKILL)

    write = checkpoints.finish

    def finish(folder: Path, kept: Any) -> None:
        if folder.name == f"checkpoint-{kill.get('checkpoint')}":
            os.kill(os.getpid(), signal.SIGKILL)
        write(folder, kept)

    checkpoints.finish = finish
    fit_once(*arguments, **options, on_progress=on_progress)

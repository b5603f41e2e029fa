"""An engine as a contender: a model behind an address, or the offline teacher."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.console import progress
from training.comparison.answered import Answered
from training.comparison.folder import read_json, write_json
from training.comparison.ground import Ground
from training.synthesis.journal import Journal
from training.synthesis.translator import Answer, Fault, Job, Translator


@dataclass(frozen=True)
class EngineContender:
    """Answers are kept as they come, so that none is asked, or paid for, twice."""

    ground: Ground
    name: str
    engine: Translator
    what: str

    def identity(self) -> Mapping[str, Any]:
        """Return engine, model and prompt."""
        return self.engine.identity

    def answer(self) -> Answered:
        """Return the engine's translations. Raises SynthesisFailed."""
        jobs = self._jobs()
        path = self.ground.folder.journal(self.name)
        with Journal(path, self.engine.identity) as journal:
            before = _Elapsed(path.with_suffix(".time"), fresh=not len(journal))
            found = {job: kept for job in jobs if (kept := journal.get(job)) is not None}
            missing = [job for job in jobs if job not in found]
            shown = progress("translate", total=len(missing))
            with before, shown as advance, closing(self.engine.translate(missing)) as said:
                for job, answer in said:
                    journal.add(job, answer)
                    found[job] = answer
                    advance(1)
        return self._answered([found[job] for job in jobs], before.seconds)

    def _jobs(self) -> list[Job]:
        """Return one for each segment: a text that comes twice is asked twice, as of the others."""
        seen = Counter[str]()
        jobs = []
        for text in self.ground.test.sources:
            jobs.append(Job(text, seen[text]))
            seen[text] += 1
        return jobs

    def _answered(self, answers: list[Answer], seconds: float) -> Answered:
        prompt = sum(answer.prompt_tokens for answer in answers)
        completion = sum(answer.completion_tokens for answer in answers)
        faults = Counter(str(answer.fault) for answer in answers if answer.fault)
        return Answered(
            [answer.text for answer in answers],
            seconds,
            prompt or None,
            completion or None,
            self.what,
            notes={f"{fault} answers": str(count) for fault, count in faults.items()},
            unanswered=faults[str(Fault.UNANSWERED)],
        )


class _Elapsed:
    """Seconds over all sessions, kept in a file also when a session is interrupted."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        self.seconds = 0.0 if fresh else float((read_json(path) or {}).get("seconds", 0.0))

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.monotonic() - self._began
        write_json(self._path, {"seconds": round(self.seconds, 3)})

"""Journal: every answer on disk as soon as it came, so that none is asked, or paid for, twice."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

from adapters.errors import DataInvalid, SynthesisFailed
from training.synthesis.translator import Answer, Fault, Job

_DIGEST_CHARS: Final = 32


class Journal:
    """An append-only JSON Lines file: a line for each engine, then one for each of its answers.

    An answer is found by a digest over engine, model, prompt, text and sample, so those of another
    engine or prompt are kept and never used: `others` counts them. A line that a killed process
    left half written is cut off. Only the places of the answers are held in memory.

    Use it as a context manager. Raises SynthesisFailed if another process has it open, DataInvalid
    if it is no journal.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self._identity = identity
        self._engine = _digest(json.dumps(identity, sort_keys=True))
        self._places: dict[str, int] = {}
        self.others = 0

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab", buffering=0)
        self._lock()
        self._answers = self.path.open("rb")
        self._end = self._read()
        os.ftruncate(self._file.fileno(), self._end)
        if not self._places:
            self._append({"engine": self._identity, "digest": self._engine})
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, job: object) -> bool:
        return isinstance(job, Job) and self._key(job) in self._places

    def add(self, job: Job, answer: Answer) -> None:
        """Keep the answer, unless asking again may give a better one."""
        if answer.fault is not None and not answer.fault.is_final:
            return
        key = self._key(job)
        self._places[key] = self._end
        self._append({"of": self._engine, "key": key, **asdict(answer)})

    def get(self, job: Job) -> Answer | None:
        """Return the answer to `job`, or None."""
        place = self._places.get(self._key(job))
        if place is None:
            return None
        self._answers.seek(place)
        body = json.loads(self._answers.readline())
        fault = Fault(body["fault"]) if body["fault"] else None
        names = ("text", "mean_logprob", "prompt_tokens", "completion_tokens", "requests")
        return Answer(**{name: body[name] for name in names}, fault=fault)

    def _key(self, job: Job) -> str:
        return _digest(f"{self._engine}\n{job.sample}\n{job.text}")

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise SynthesisFailed(
                f"{self.path}: another run writes it; wait for its end, or choose another --out"
            ) from error

    def _append(self, body: Mapping[str, Any]) -> None:
        # One write a line: a signal or a kill leaves at most half a line, at the end.
        line = json.dumps(body).encode() + b"\n"
        self._file.write(line)
        self._end += len(line)

    def _read(self) -> int:
        """Take note of the answers; return where the last whole line ends."""
        end = 0
        for number, line in enumerate(self._answers, start=1):
            if not line.endswith(b"\n"):
                break
            body = self._parsed(line, number)
            if body.get("of") == self._engine:
                self._places[body["key"]] = end
            elif "of" in body:
                self.others += 1
            end += len(line)
        return end

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            body = json.loads(line)
        except ValueError:
            body = None
        if isinstance(body, dict) and ("engine" in body or {"of", "key"} <= body.keys()):
            return body
        self.__exit__()
        raise DataInvalid(
            f"{self.path}:{number}: expected a line of a journal of `dragoman data synthesize`, "
            f"found {line[:40]!r}; remove the line, or choose another --out"
        )


def journal_of(out: Path) -> Path:
    """Return where the journal of the output file `out` is: beside it."""
    return out.with_name(f"{out.name}.journal")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]

"""The tools of neural metrics: which files their commands read, and which they write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True)
class Texts:
    """What is to be scored, segment by segment; without references the source has to do."""

    sources: Sequence[str]
    hypotheses: Sequence[str]
    references: Sequence[str] | None


class Tool(Protocol):
    """How one metric's command takes texts and gives scores."""

    scale: ClassVar[float]
    lower_is_better: ClassVar[bool]
    environment: ClassVar[Mapping[str, str]]  # variable, and the folder that it names
    install: ClassVar[str]

    def arguments(self, command: Sequence[str], folder: Path, texts: Texts) -> list[str]:
        """Write `texts` into `folder` and return the options that name the files."""

    def read(self, folder: Path) -> list[Any]:
        """Return the score of each segment as the command has left it in `folder`."""

    def marks(self, command: Sequence[str]) -> dict[str, str]:
        """Return what of the command decides the scores, the model first."""

    def version(self, command: Sequence[str]) -> tuple[str, str]:
        """Return the name of the tool, and Python code that prints its version."""


class Comet:
    """comet-score of unbabel-comet 2.2: https://github.com/Unbabel/COMET (comet/cli/score.py)."""

    scale: ClassVar = 100.0
    lower_is_better: ClassVar = False
    environment: ClassVar[Mapping[str, str]] = {}
    install: ClassVar = (
        "install unbabel-comet in an environment of its own and name its bin/comet-score"
    )

    def arguments(self, command: Sequence[str], folder: Path, texts: Texts) -> list[str]:
        """Return -s, -t and -r, plain text with a segment in each line, and --to_json."""
        named = {"-s": texts.sources, "-t": texts.hypotheses, "-r": texts.references}
        options = ["--quiet", "--to_json", str(folder / "scores.json")]
        for option, segments in named.items():
            if segments is not None:
                path = folder / f"text{option}.txt"
                # A line is a segment there, and white space means nothing to its tokenizer.
                path.write_text("".join(f"{_one_line(s)}\n" for s in segments), encoding="utf-8")
                options += [option, str(path)]
        return options

    def read(self, folder: Path) -> list[Any]:
        """Return `COMET` of each row under the only system's file name."""
        (rows,) = json.loads((folder / "scores.json").read_text(encoding="utf-8")).values()
        return [row["COMET"] for row in rows]

    def marks(self, command: Sequence[str]) -> dict[str, str]:
        """Return the model, and whether it reads segments with their context."""
        model = _option(command, "--model") or "Unbabel/wmt22-comet-da"  # the tool's own default
        context = {"context": "yes"} if "--enable-context" in command else {}
        return {"model": model, **context}

    def version(self, command: Sequence[str]) -> tuple[str, str]:
        """Return what asks for the version of the package."""
        name = "unbabel-comet"
        return name, f"from importlib.metadata import version; print(version({name!r}))"


class MetricX:
    """predict.py of MetricX-24 and -23: https://github.com/google-research/metricx (README.md)."""

    scale: ClassVar = 1.0
    lower_is_better: ClassVar = True
    # The script reads its input by way of a cache, where a copy of the texts would stay.
    environment: ClassVar[Mapping[str, str]] = {"HF_DATASETS_CACHE": "cache"}
    install: ClassVar = (
        "clone google-research/metricx, name the Python of its environment with "
        "-m metricx24.predict, and the clone as folder"
    )

    def arguments(self, command: Sequence[str], folder: Path, texts: Texts) -> list[str]:
        """Return --input_file, JSON lines of three texts, and --output_file."""
        references = texts.references or [""] * len(texts.sources)
        rows = zip(texts.sources, texts.hypotheses, references, strict=True)
        keys = ("source", "hypothesis", "reference")
        lines = (json.dumps(dict(zip(keys, row, strict=True))) for row in rows)
        (folder / "input.jsonl").write_text("".join(f"{line}\n" for line in lines))
        free = [] if texts.references is not None or "--qe" in command else ["--qe"]
        files = {"--input_file": "input.jsonl", "--output_file": "output.jsonl"}
        return [*free, *(word for o, name in files.items() for word in (o, str(folder / name)))]

    def read(self, folder: Path) -> list[Any]:
        """Return `prediction` of each row."""
        lines = (folder / "output.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["prediction"] for line in lines]

    def marks(self, command: Sequence[str]) -> dict[str, str]:
        """Return the model, and how much of a text it reads."""
        model = _option(command, "--model_name_or_path") or "unknown"
        return {"model": model, "max_input_length": _option(command, "--max_input_length") or "?"}

    def version(self, command: Sequence[str]) -> tuple[str, str]:
        """Return what asks for a digest of the script: it has no releases."""
        module = _option(command, "-m") or "metricx24.predict"
        return module, (
            "import hashlib, importlib.util, pathlib; "
            f"file = importlib.util.find_spec({module!r}).origin; "
            "print('sha256-' + hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()[:8])"
        )


def tool_of(metric: str) -> Tool | None:
    """Return the tool that computes a metric of this name, by the word that stands in it."""
    if "comet" in metric.lower():
        return Comet()
    return MetricX() if "metricx" in metric.lower() else None


def _one_line(text: str) -> str:
    return re.sub(r"[\r\n]+", " ", text)


def _option(command: Sequence[str], name: str) -> str | None:
    for n, word in enumerate(command):
        if word == name and n + 1 < len(command):
            return command[n + 1]
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None

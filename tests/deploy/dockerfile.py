"""A Dockerfile as stages of steps, each with the state it runs in; what it does not know fails."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_FLAG: Final = re.compile(r"--([a-z-]+)=(\S+)\s+")
_CACHE: Final = re.compile(r"type=cache,target=(/[^,]+)")
# As the configuration of Debian's own image has it.
_OUTSIDE: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class DockerfileError(Exception):
    """An instruction that this parser does not know, or one without sense."""


@dataclass(frozen=True)
class State:
    """What a stage has set so far, and hands on to the stages made from it."""

    arguments: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(_OUTSIDE))
    folder: str = "/"
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    def fill(self, text: str) -> str:
        """Return the text with variables filled in: an ENV hides the ARG of its name."""
        known = {**self.arguments, **self.environment}
        return _VARIABLE.sub(lambda found: known.get(found[1] or found[2], ""), text)


@dataclass(frozen=True)
class Run:
    """A script for the state's shell; `caches` are folders that are kept between builds."""

    state: State
    script: str
    caches: tuple[str, ...]


@dataclass(frozen=True)
class Copy:
    """Files of the context, or of another stage; a target that ends in / is a folder."""

    sources: tuple[str, ...]
    target: str
    stage: str | None


@dataclass(frozen=True)
class Stage:
    """Steps on top of a parent: another stage, or else an image from outside."""

    name: str
    parent: str
    steps: tuple[Run | Copy, ...]
    state: State


@dataclass(frozen=True)
class Dockerfile:
    """The stages, and each outside image as it is written: with its arguments, not their values."""

    stages: Mapping[str, Stage]
    images: tuple[str, ...]

    def lineage(self, name: str) -> tuple[Stage, ...]:
        """Return the stage after those that it is made from."""
        stage = self.stages[name]
        before = self.lineage(stage.parent) if stage.parent in self.stages else ()
        return (*before, stage)


def parse(path: Path, given: Mapping[str, str]) -> Dockerfile:
    """Return the stages with these build arguments. Raises DockerfileError."""
    stages: dict[str, Stage] = {}
    images: list[str] = []
    top = State()
    for keyword, text in _instructions(path.read_text(encoding="utf-8")):
        if keyword == "FROM":
            written, _, name = text.partition(" AS ")
            parent = top.fill(written)
            if parent not in stages:
                images.append(written)
            state = stages[parent].state if parent in stages else State()
            stages[name] = Stage(name, parent, (), state)
        elif keyword == "ARG":
            scope = {**top.arguments, **given}
            if stages:
                name, stage = stages.popitem()
                state = _with_argument(stage.state, text, scope)
                stages[name] = replace(stage, state=state)
            else:
                top = _with_argument(top, text, given)
        elif stages:
            name, stage = stages.popitem()
            stages[name] = _with(stage, keyword, text)
        else:
            raise DockerfileError(f"{keyword} before the first FROM")
    return Dockerfile(stages, tuple(images))


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield keyword and rest; comments go first, since they may stand between continued lines."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", "", "\n".join(lines)).splitlines():
        if line.strip():
            keyword, _, rest = line.partition(" ")
            yield keyword, rest.strip()


def _with_argument(state: State, text: str, scope: Mapping[str, str]) -> State:
    """Return the state with `NAME` or `NAME=default`; an argument without a value is not set."""
    name, has_default, default = text.partition("=")
    value = scope.get(name, default if has_default else None)
    if value is None:
        return state
    return replace(state, arguments={**state.arguments, name: value})


def _with(stage: Stage, keyword: str, text: str) -> Stage:
    if keyword in {"EXPOSE", "STOPSIGNAL"}:  # nothing that a step reads
        return stage
    if keyword == "RUN":
        return replace(stage, steps=(*stage.steps, _run(stage.state, text)))
    if keyword == "COPY":
        return replace(stage, steps=(*stage.steps, _copy(stage.state, text)))
    if keyword not in _SETTINGS:
        raise DockerfileError(f"{keyword}: this parser does not know it; teach it, or leave it out")
    return replace(stage, state=_SETTINGS[keyword](stage.state, text))


def _run(state: State, text: str) -> Run:
    flags, script = _flags(text)
    caches = []
    for name, value in flags:
        cache = _CACHE.fullmatch(value)
        if name != "mount" or not cache:
            raise DockerfileError(f"RUN --{name}={value}: only a cache is known")
        caches.append(cache[1])
    return Run(state, script, tuple(caches))


def _copy(state: State, text: str) -> Copy:
    flags, rest = _flags(text)
    if any(name != "from" for name, _ in flags):
        raise DockerfileError(f"COPY {text}: only --from is known")
    *sources, target = shlex.split(state.fill(rest))
    return Copy(tuple(sources), _path(state, target), dict(flags).get("from"))


def _flags(text: str) -> tuple[list[tuple[str, str]], str]:
    found = []
    while match := _FLAG.match(text):
        found.append((match[1], match[2]))
        text = text[match.end() :]
    return found, text


def _path(state: State, text: str) -> str:
    return text if text.startswith("/") else f"{state.folder.rstrip('/')}/{text}"


def _environment(state: State, text: str) -> State:
    pairs = dict(pair.split("=", 1) for pair in shlex.split(state.fill(text)))
    return replace(state, environment={**state.environment, **pairs})


def _words(text: str) -> tuple[str, ...]:
    """Return the exec form; the shell's form would hide signals from what is run."""
    if not text.startswith("["):
        raise DockerfileError(f"{text}: not a JSON list of words")
    return tuple(json.loads(text))


_SETTINGS: Final[Mapping[str, Callable[[State, str], State]]] = {
    "CMD": lambda state, text: replace(state, command=_words(text)),
    # It also forgets the parent's CMD.
    "ENTRYPOINT": lambda state, text: replace(state, entrypoint=_words(text), command=()),
    "ENV": _environment,
    "SHELL": lambda state, text: replace(state, shell=_words(text)),
    "USER": lambda state, text: replace(state, user=state.fill(text)),
    "WORKDIR": lambda state, text: replace(state, folder=_path(state, state.fill(text))),
}


@dataclass(frozen=True)
class Context:
    """The folder that COPY sees, less what the .dockerignore beside the Dockerfile keeps out."""

    root: Path
    patterns: tuple[str, ...]

    @classmethod
    def of(cls, dockerfile: Path, root: Path) -> Context:
        lines = Path(f"{dockerfile}.dockerignore").read_text(encoding="utf-8").splitlines()
        return cls(root, tuple(line for line in lines if line.strip() and line[0] != "#"))

    def lets_through(self, path: str) -> bool:
        """Tell of a path below the root; the last pattern that matches it or a parent decides."""
        here = PurePosixPath(path)
        names = [str(each) for each in (here, *here.parents) if each.name]
        ignored = False
        for pattern in self.patterns:
            rule = _glob(pattern.lstrip("!"))
            if any(rule.fullmatch(name) for name in names):
                ignored = not pattern.startswith("!")
        return not ignored

    def files(self) -> Iterator[str]:
        """Yield the files that are let through; what is ignored at the top is not even opened."""
        for entry in sorted(self.root.iterdir()):
            if self.lets_through(entry.name):
                for path in (entry, *(sorted(entry.rglob("*")) if entry.is_dir() else ())):
                    name = path.relative_to(self.root).as_posix()
                    if path.is_file() and self.lets_through(name):
                        yield name


def _glob(pattern: str) -> re.Pattern[str]:
    """Return the pattern as Go's filepath.Match reads it, with ** for any number of folders."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.strip("/"))
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(signs.get(part, re.escape(part)) for part in parts))

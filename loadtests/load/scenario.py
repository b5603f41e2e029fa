"""Scenario: the strict YAML of one load test. docs/loadtests.md explains each key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from adapters.errors import ScenarioInvalid
from adapters.strict.document import line_of, parse
from adapters.strict.faults import faults_of, with_overrides
from adapters.strict.section import Section
from loadtests.load.arrivals import Arrivals
from loadtests.load.budgets import Budget
from loadtests.load.events import Event
from loadtests.load.popularity import Popularity
from loadtests.load.texts import Texts

SHIPPED: Final = Path(__file__).parents[1] / "scenarios"


class Slo(Section):
    """What a request must keep to count as goodput."""

    ttft_ms: float = Field(default=1000.0, gt=0, description="intended start to first token")
    tpot_ms: float = Field(default=200.0, gt=0, description="mean time of each token after it")


class Checks(Section):
    """How answers are held against what each adapter says when it is asked alone."""

    share: float = Field(default=0.1, ge=0, le=1, description="of requests that are such probes")
    prompts: int = Field(default=2, ge=1, description="probes of an adapter")


class Hangups(Section):
    """Clients that leave before their answer is whole."""

    share: float = Field(ge=0, le=1, description="of requests")
    after_tokens: int = Field(default=3, ge=0, description="0: before the first one")


class Server(Section):
    """What `dragoman bench` starts where no --url is given."""

    base: str = "gemma3-270m"
    adapters: int = Field(default=8, ge=1, description="random ones, rank 16")
    slots: int = Field(default=8, ge=1, description="--max-loras")
    memory: int = Field(default=16, ge=1, description="--max-cpu-loras")
    seats: int = Field(default=32, ge=1, description="--max-num-seqs")


class Scenario(Section):
    """One load test."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    seconds: float = Field(gt=0, description="over which requests arrive, after warm_s")
    warm_s: float = Field(default=5.0, ge=0, description="of the same load before, not counted")
    settle_s: float = Field(default=120.0, gt=0, description="for the last answers to end")
    seed: int = 0
    arrivals: Arrivals
    popularity: Popularity = Popularity()
    texts: Texts = Texts()
    slo: Slo = Slo()
    checks: Checks = Checks()
    hangups: Hangups | None = None
    events: Annotated[tuple[Event, ...], Field(strict=False)] = ()
    budgets: dict[str, Budget] = Field(default={}, description="figure of the report: its limit")
    server: Server = Server()
    watch: Literal["none", "leaks"] = "none"

    @model_validator(mode="after")
    def _events_happen(self) -> Self:
        late = [event.kind for event in self.events if event.at_s >= self.seconds]
        if late:
            raise ValueError(f"events at or after {self.seconds:g} s never happen: {late}")
        return self

    @classmethod
    def load(cls, name: str, overrides: Sequence[str] = ()) -> Self:
        """Return the scenario of a file, or a shipped one by its name, with KEY=VALUE overrides.

        Raises ScenarioInvalid with every fault at once, each with its line and the next step.
        """
        path = find(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ScenarioInvalid(f"{path}: cannot be read ({error})") from error
        scenario, faults = faults_of(cls, with_overrides(parse(text, str(path)), overrides))
        if scenario is None:
            raise ScenarioInvalid("\n".join(map(str, sorted(faults, key=line_of))))
        return scenario


def names() -> list[str]:
    """Return the names of the shipped scenarios."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find(name: str) -> Path:
    """Return the file of a scenario, given as a path or a shipped name. Raises ScenarioInvalid."""
    shipped = SHIPPED / f"{name}.yaml"
    for path in (Path(name), shipped):
        if path.is_file():
            return path
    raise ScenarioInvalid(
        f"{name}: no such file, and no shipped scenario; expected a path or one of "
        f"{', '.join(names())}"
    )

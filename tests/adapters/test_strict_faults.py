"""Sections of several kinds: faults name the user's own keys, and hints are of the chosen kind."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from adapters.strict.document import parse
from adapters.strict.faults import faults_of, with_overrides
from adapters.strict.section import Section, kind_or


class Square(Section):
    kind: Literal["square"] = "square"
    side: float = Field(gt=0, description="length in metres")


class Circle(Section):
    kind: Literal["circle"] = "circle"
    radius: float = Field(default=1.0, gt=0, description="half of the width")
    circle: str = Field(default="", description="a name, spelt like the kind")


Shape = Annotated[Square | Circle, Field(discriminator="kind"), kind_or("circle")]


class Drawing(Section):
    shape: Shape = Circle()
    more: tuple[Shape, ...] = Field(default=(), strict=False)
    colour: Literal["none"] | tuple[int, ...] = Field(
        default="none", description="red, green, blue"
    )
    weights: dict[str, float] = Field(default={}, description="thickness of each line")


def told(text: str, *overrides: str) -> list[str]:
    document = with_overrides(parse(text, "d.yaml"), overrides)
    return [str(fault) for fault in faults_of(Drawing, document)[1]]


def drawn(text: str) -> Drawing:
    value, faults = faults_of(Drawing, parse(text, "d.yaml"))
    assert value is not None, faults
    return value


def test_a_section_without_a_kind_is_of_the_default_one() -> None:
    assert drawn("shape: {radius: 2.0}").shape == Circle(radius=2.0)
    assert drawn("shape: {kind: square, side: 2.0}").shape == Square(side=2.0)
    assert drawn("more: [{radius: 2.0}, {kind: square, side: 1.0}]").more == (
        Circle(radius=2.0),
        Square(side=1.0),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "shape:\n  radius: -1.0\n",
            "d.yaml:2: `shape.radius`: Input should be greater than 0, found -1.0; "
            "half of the width",
        ),
        (
            "shape:\n  kind: square\n  side: 0.0\n",
            "d.yaml:3: `shape.side`: Input should be greater than 0, found 0.0; length in metres",
        ),
        (
            "shape:\n  kind: square\n",
            "d.yaml:1: `shape.side` is missing; add it (length in metres)",
        ),
        ("shape:\n  radios: 1.0\n", "d.yaml:2: unknown key `shape.radios`; did you mean `radius`?"),
        (
            "shape:\n  side: 1.0\n",
            "d.yaml:2: unknown key `shape.side`; kind: circle has none, kind: square does",
        ),
        (
            "shape:\n  kind: square\n  side: 1.0\n  zzz: 1\n",
            "d.yaml:4: unknown key `shape.zzz`; known keys: kind, side",
        ),
        (
            "shape:\n  kind: sqare\n",
            "d.yaml:2: `shape.kind`: found 'sqare', expected square or circle; "
            "did you mean `square`?",
        ),
        ("shape:\n  kind:\n", "d.yaml:2: `shape.kind`: found 'None', expected square or circle"),
        (
            "shape:\n  circle: 3\n",
            "d.yaml:2: `shape.circle`: Input should be a valid string, found 3; "
            "a name, spelt like the kind",
        ),
        (
            "more:\n  - radius: 1.0\n  - kind: square\n    side: x\n",
            "d.yaml:4: `more.1.side`: Input should be a valid number, found 'x'; length in metres",
        ),
        (
            "weights:\n  thin: x\n",
            "d.yaml:2: `weights.thin`: Input should be a valid number, found 'x'; "
            "thickness of each line",
        ),
    ],
)
def test_a_fault_names_the_users_keys_and_hints_at_the_chosen_kind(
    text: str, expected: str
) -> None:
    assert told(text) == [expected]


def test_a_section_that_is_no_mapping_is_told_so() -> None:
    (fault,) = told("shape: circle\n")
    assert fault.startswith("d.yaml:1: `shape`: ")
    assert "found 'circle'" in fault


def test_a_choice_of_types_is_one_fault_and_leaves_no_trace_in_the_key() -> None:
    assert told("colour: blue\n") == [
        "d.yaml:1: `colour`: Input should be 'none' or a valid tuple, found 'blue'; "
        "red, green, blue"
    ]


def test_a_kind_that_an_option_sets_is_told_by_the_option() -> None:
    (fault,) = told("{}", "shape.kind=squares")
    assert fault.startswith("--set shape.kind=squares: `shape.kind`: found 'squares'")

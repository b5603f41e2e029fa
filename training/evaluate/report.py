"""The two texts that travel with an adapter: README.md (a model card) and report.html."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
import yaml
from markupsafe import Markup

from adapters.ids import LanguagePair
from adapters.prompt import LANGUAGE_NAMES
from training.candidate import Candidate
from training.evaluate.fault import Fault
from training.evaluate.faults import Found, count
from training.evaluate.page import environment as page
from training.evaluate.page.charts import metric_charts, title_of
from training.evaluate.page.curves import loss_curves
from training.evaluate.page.segments import Beside, Judged, Shown, side_by_side, worst
from training.evaluate.scoreboard import SIGNIFICANCE
from training.evaluate.scores import OWN
from training.measure import Measured
from training.methods.config import Method
from training.methods.conversion import told
from training.methods.served import name_of

_TEMPLATES: Final = Path(__file__).parent / "templates"
_MADE: Final = {
    "prefix": "keys and values of virtual tokens for",
    "prompt": "embeddings of virtual tokens for",
    "bottleneck": "bottleneck adapters on",
    "full": "a model of its own, fine-tuned from",
}


def write_report(candidate: Candidate, folder: Path) -> None:
    """Write README.md and report.html into `folder`."""
    for name in ("README.md", "report.html"):
        (folder / name).write_text(render(candidate, name), encoding="utf-8")


def render(candidate: Candidate, name: str) -> str:
    """Return the text of README.md or report.html; in HTML every segment is escaped."""
    values = _values(candidate)
    if name == "report.html":
        return page.render("training.html.j2", **values, **_shown(candidate))
    return _environment().get_template(f"{name}.j2").render(values)


@cache  # compiling a template takes longer than rendering it
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=jinja2.select_autoescape(()),  # Markdown: of nothing
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )


def _values(candidate: Candidate) -> dict[str, Any]:
    recipe, data = candidate.recipe, candidate.data
    dropped, fit = data.clean["dropped"].items(), candidate.fit
    conversion = fit.conversion
    languages = [code for pair in recipe.pairs for code in (pair.source, pair.target)]
    return {
        **{field.name: getattr(candidate, field.name) for field in fields(candidate)},
        "method": _method(recipe.method),
        "conversion": conversion and told(conversion),
        "made": _made(recipe.method, conversion.rank if conversion else None),
        "served": candidate.served,
        "languages": list(dict.fromkeys(languages)),
        "named": _named,
        "directions": _listed([_named(pair) for pair in recipe.pairs]),
        "significance": SIGNIFICANCE,
        "faults_of": lambda measured: _told(measured.evaluation.faults),
        "standard_faults_of": lambda measured: _told(measured.evaluation.standard_faults),
        "dropped": ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in dropped if n),
        "licences": ", ".join(sorted({source.licence for source in data.sources})),
        "created": datetime.now(UTC).strftime("%d %B %Y"),
    }


@dataclass(frozen=True)
class _Pair:
    """One language pair as the page shows it; `board` is a Scoreboard's JSON."""

    name: str
    measured: Measured
    board: dict[str, Any]
    charts: list[tuple[str, Markup]]
    worst: list[Shown]
    beside: list[Beside]


def _shown(candidate: Candidate) -> dict[str, Any]:
    """Return what the page has beside the values of the card."""
    fit, recipe = candidate.fit, candidate.recipe
    losses = {str(recipe.id): {"train": fit.losses, "dev": fit.dev_losses}}
    dumped = recipe.model_dump(mode="json")
    return {
        "own": OWN,
        "pairs": [_pair(m, candidate.shown_of_each) for m in candidate.measured],
        "title_of": title_of,
        "curves": loss_curves(losses) if len(fit.losses) > 1 else None,
        "recipe_text": yaml.safe_dump(dumped, sort_keys=False, allow_unicode=True),
    }


def _pair(measured: Measured, most: int) -> _Pair:
    board = measured.evaluation.board
    body = board.to_json()
    systems = {
        entry.system.name: Judged(entry.system.texts, entry.faults, entry.segment_scores)
        for entry in board.entries
    }
    texts = {"sources": board.test.sources, "references": board.test.references}
    return _Pair(
        name=_named(measured.pair),
        measured=measured,
        board=body,
        charts=metric_charts(body),
        worst=worst(texts, systems[OWN], most),
        beside=side_by_side(texts, systems, most),
    )


def _told(faults: Found) -> str:
    found = count(faults)
    return ", ".join(
        f"{fault} {100 * found.rate(fault):.1f} %" for fault in Fault if found.counts.get(fault)
    )


def _method(method: Method) -> str:
    numbers = [(name, getattr(method, name, None)) for name in ("rank", "alpha", "tokens", "size")]
    return ", ".join([name_of(method), *(f"{n} {v:g}" for n, v in numbers if v is not None)])


def _made(method: Method, converted_rank: int | None) -> str:
    rank = converted_rank or getattr(method, "rank", None)
    adapter = f"a LoRA adapter (rank {rank}) on" if rank else f"an adapter ({method.kind}) on"
    return _MADE.get(method.kind, adapter)


def _named(pair: LanguagePair) -> str:
    source, target = (LANGUAGE_NAMES.get(code, code) for code in (pair.source, pair.target))
    return f"{source} to {target}"


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last

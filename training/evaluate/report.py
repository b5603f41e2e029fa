"""The two texts that travel with an adapter: README.md (a model card) and report.html."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from adapters.ids import LanguagePair
from adapters.prompt import LANGUAGE_NAMES
from training.candidate import Candidate
from training.evaluate.bootstrap import RESAMPLES
from training.evaluate.chart import loss_chart
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
    return _environment().get_template(f"{name}.j2").render(_values(candidate))


@cache  # compiling a template takes longer than rendering it
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )


def _values(candidate: Candidate) -> dict[str, Any]:
    recipe, data = candidate.recipe, candidate.data
    dropped, fit = data.clean["dropped"].items(), candidate.fit
    conversion = fit.conversion
    languages = [code for pair in recipe.pairs for code in (pair.source, pair.target)]
    chart = loss_chart(fit.losses, fit.dev_losses, fit.dev_chrf)
    return {
        **{field.name: getattr(candidate, field.name) for field in fields(candidate)},
        "method": _method(recipe.method),
        "conversion": conversion and told(conversion),
        "samples_of": candidate.samples_of,
        "made": _made(recipe.method, conversion.rank if conversion else None),
        "served": candidate.served,
        "languages": list(dict.fromkeys(languages)),
        "named": _named,
        "directions": _listed([_named(pair) for pair in recipe.pairs]),
        "resamples": RESAMPLES,
        "dropped": ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in dropped if n),
        "licences": ", ".join(sorted({source.licence for source in data.sources})),
        # Numbers only, so it needs no escaping.
        "loss_chart": Markup(chart or "<p class='quiet'>Too few steps for a curve.</p>"),  # noqa: S704
        "created": datetime.now(UTC).strftime("%d %B %Y"),
    }


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

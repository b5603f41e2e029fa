"""The two texts that travel with an adapter: README.md (a model card) and report.html."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from adapters.prompt import LANGUAGE_NAMES
from training.candidate import Candidate
from training.evaluate.bootstrap import RESAMPLES
from training.evaluate.chart import loss_chart

_TEMPLATES: Final = Path(__file__).parent / "templates"


def write_report(candidate: Candidate, folder: Path) -> None:
    """Write README.md and report.html into `folder`."""
    for name in ("README.md", "report.html"):
        (folder / name).write_text(render(candidate, name), encoding="utf-8")


def render(candidate: Candidate, name: str) -> str:
    """Return the text of README.md or report.html; in HTML every segment is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{name}.j2").render(_values(candidate))


def _values(candidate: Candidate) -> dict[str, Any]:
    recipe, data = candidate.recipe, candidate.data
    pair, dropped = recipe.pair, data.clean["dropped"].items()
    fit = candidate.fit
    chart = loss_chart(fit.losses, fit.dev_losses, fit.dev_chrf)
    return {
        **{field.name: getattr(candidate, field.name) for field in fields(candidate)},
        "rows": candidate.rows[: recipe.evaluate.samples],
        "pair": pair,
        "versus": candidate.evaluation.over_base,
        "source_name": LANGUAGE_NAMES.get(pair.source, pair.source),
        "target_name": LANGUAGE_NAMES.get(pair.target, pair.target),
        "resamples": RESAMPLES,
        "dropped": ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in dropped if n),
        "licences": ", ".join(sorted({source.licence for source in data.sources})),
        # Numbers only, so it needs no escaping.
        "loss_chart": Markup(chart or "<p class='quiet'>Too few steps for a curve.</p>"),  # noqa: S704
        "created": datetime.now(UTC).strftime("%d %B %Y"),
    }

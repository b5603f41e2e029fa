"""The report as one HTML file that opens offline: figures, checks and plots."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
import yaml
from markupsafe import Markup

from loadtests.load import plots

_TEMPLATES: Final = Path(__file__).parent / "templates"


def page(report: Mapping[str, Any]) -> str:
    """Return the page; all that a server said is escaped."""
    drawn = {
        "over_time": plots.over_time(report),
        "by_warmth": plots.by_warmth(report),
        "by_adapter": plots.by_adapter(report),
        "held_plot": plots.held(report),
    }
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            # matplotlib escapes its labels, and nothing else stands in them.
            **{name: Markup(svg) for name, svg in drawn.items()},  # noqa: S704
            report=report,
            scenario_yaml=yaml.safe_dump(report["scenario"], sort_keys=False),
        )
    )


@cache  # compiling a template takes longer than rendering it
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

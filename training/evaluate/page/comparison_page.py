"""The page of `dragoman compare`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adapters.ids import LanguagePair
from training.evaluate.page.charts import metric_charts, title_of
from training.evaluate.page.curves import loss_curves
from training.evaluate.page.environment import render
from training.evaluate.page.segments import judged, side_by_side, worst

_WORST: Final = 6
_BESIDE: Final = 20


def comparison_page(body: Mapping[str, Any]) -> str:
    """Return the page on `body`: comparison.json, and `texts` with all systems' answers.

    All that stood in a file or came from a model is escaped. Systems without an answer (one that
    failed, or was not reached yet) are listed with what became of them.
    """
    board, texts = body["scoreboard"], body["texts"]
    pair = LanguagePair.parse(board["pair"])
    systems = judged(texts, body.get("by_segment", {}), pair)
    return render(
        "comparison.html.j2",
        body=body,
        board=board,
        pair=pair,
        best=_best(board),
        done={row["system"] for row in board["systems"]},
        charts=metric_charts(board),
        curves=loss_curves(body["losses"]),
        title_of=title_of,
        worst={name: worst(texts, one, _WORST) for name, one in systems.items()},
        beside=side_by_side(texts, systems, _BESIDE),
    )


def _best(board: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the row of the system that is best by the first metric."""
    rows = board["systems"]
    return max(rows, key=lambda row: next(iter(row["scores"].values()))["value"], default=None)

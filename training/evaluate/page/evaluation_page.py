"""The page of `dragoman eval --html`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adapters.ids import LanguagePair
from training.evaluate.page.charts import metric_charts, title_of
from training.evaluate.page.environment import render
from training.evaluate.page.segments import judged, side_by_side, worst

_WORST: Final = 20
_BESIDE: Final = 16


def evaluation_page(body: Mapping[str, Any]) -> str:
    """Return the page on `body`, which is what `dragoman eval --json` prints.

    All that stood in a file or came from a model is escaped.
    """
    pair = LanguagePair.parse(body["pair"])
    systems = judged(body["texts"], body["by_segment"], pair)
    board = body["scoreboard"]
    return render(
        "evaluation.html.j2",
        body=body,
        board=board,
        pair=pair,
        own=next(row for row in board["systems"] if row["system"] == body["system"]),
        charts=metric_charts(board),
        title_of=title_of,
        worst=worst(body["texts"], systems[body["system"]], _WORST),
        beside=side_by_side(body["texts"], systems, _BESIDE),
    )

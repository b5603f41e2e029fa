"""The report's plots, as SVG that stands in the page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

_COLOURS: Final = {"warm": "tab:blue", "returning": "tab:orange", "cold": "tab:red"}
_STYLE: Final[Any] = {
    "svg.hashsalt": "dragoman", "svg.fonttype": "none", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip
_MOST_ADAPTERS: Final = 24
_FEW_EVENTS: Final = 12


def over_time(report: Mapping[str, Any]) -> str:
    """Return load, tokens and waits over the run; events are marked."""
    rows = report["timeline"]
    at_s = [row["at_s"] for row in rows]
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(3, 1, figsize=(9, 5.4), sharex=True, layout="constrained")
        axes[0].step(at_s, [row["sent_per_s"] for row in rows], where="post", color="0.4")
        axes[0].set_ylabel("requests/s meant")
        bad = [(row["at_s"], row["not_ok_per_s"]) for row in rows if row["not_ok_per_s"]]
        if bad:
            axes[0].plot(*zip(*bad, strict=True), "x", color="tab:red", label="without an answer")
            axes[0].legend(frameon=False, loc="upper right")
        axes[1].step(at_s, [row["tokens_per_s"] for row in rows], where="post", color="tab:green")
        axes[1].set_ylabel("tokens/s")
        for percent, colour in ((50, "tab:blue"), (95, "tab:purple")):
            key = f"ttft_p{percent}_ms"
            some = [(row["at_s"], row[key]) for row in rows if key in row]
            if some:
                axes[2].plot(
                    *zip(*some, strict=True), ".-", ms=3, lw=1, color=colour, label=f"p{percent}"
                )
        axes[2].set_ylabel("first token, ms")
        axes[2].legend(frameon=False, ncols=2, loc="upper right")
        axes[2].set_xlabel("seconds (by the time at which requests were meant to start)")
        _mark(axes, report)
        return _svg(figure)


def by_warmth(report: Mapping[str, Any]) -> str:
    """Return the distribution of the time to first token, by how warm the adapter was."""
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(9, 2.8), layout="constrained")
        for name, values in report["curves"].items():
            axis.plot(values, range(1, 101), label=name, color=_COLOURS[name])
        axis.set_xscale("log")
        axis.set_xlabel("time to first token, ms")
        axis.set_ylabel("% of requests within")
        axis.axvline(report["scenario"]["slo"]["ttft_ms"], color="0.6", ls="--", lw=1)
        axis.legend(frameon=False, loc="lower right")
        return _svg(figure)


def by_adapter(report: Mapping[str, Any]) -> str:
    """Return the waits of each adapter, the most asked first."""
    rows = [row for row in report["adapters"] if row["ttft_ms"]][:_MOST_ADAPTERS]
    with plt.rc_context(_STYLE):
        height = 0.9 + 0.22 * len(rows)
        figure, axis = plt.subplots(figsize=(9, height), layout="constrained")
        for place, row in enumerate(reversed(rows)):
            p50, p95 = row["ttft_ms"]["p50"], row["ttft_ms"]["p95"]
            axis.plot([p50, p95], [place, place], color="0.7", lw=2, solid_capstyle="round")
            axis.plot(p50, place, "o", ms=4, color="tab:blue")
            axis.plot(p95, place, "|", ms=7, color="tab:purple")
        axis.set_yticks(range(len(rows)), [_named(row) for row in reversed(rows)])
        axis.set_xlabel("time to first token, ms: p50 to p95")
        axis.set_xlim(left=0)
        return _svg(figure)


def held(report: Mapping[str, Any]) -> str:
    """Return memory, descriptors and series of the server over time; empty if none was seen."""
    rows = report["holdings"]
    kinds = [k for k in ("rss_mb", "descriptors", "series") if any(row[k] for row in rows)]
    if not kinds:
        return ""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(kinds), 1, figsize=(9, 1.5 * len(kinds)), sharex=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for axis, kind in zip(axes.flat, kinds, strict=True):
            some = [(row["at_s"], row[kind]) for row in rows if row[kind] is not None]
            axis.plot(*zip(*some, strict=True), color="tab:brown", lw=1)
            axis.set_ylabel(kind.replace("rss_mb", "memory, MB"))
        axes[-1, 0].set_xlabel("seconds")
        return _svg(figure)


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['adapter'][:32]}  ({row['sent']})"


def _mark(axes: Sequence[Axes], report: Mapping[str, Any]) -> None:
    for axis in axes:
        axis.axvspan(0, report["scenario"]["warm_s"], color="0.95", lw=0)
        # A mark for each of a hundred would hide what it marks.
        strength = 0.8 if len(report["events"]) <= _FEW_EVENTS else 0.2
        for event in report["events"]:
            axis.axvline(event["at_s"], color="tab:red", lw=0.8, ls=":", alpha=strength)
            axis.axvspan(
                event["at_s"], event["at_s"] + event["took_s"], color="tab:red", alpha=0.08, lw=0
            )


def _svg(figure: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    # The XML declaration and doctype belong to files, not into a page.
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]

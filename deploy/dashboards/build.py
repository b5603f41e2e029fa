"""The Grafana dashboards beside this file, from what each panel asks: python deploy/dashboards/build.py

Grafana's JSON is five hundred lines a dashboard, nearly all of them alike; this is what differs. A
test holds the files equal to what this writes, and every metric to a live server.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS: Final = 24


@dataclass(frozen=True)
class Panel:
    """One graph: its queries by legend, in a unit of Grafana's, and what to look for."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    why: str = ""
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False
    # From here on the line is drawn red: the threshold of the alert that watches the same.
    limit: float | None = None


@dataclass(frozen=True)
class Dashboard:
    """A page of panels; variables are labels whose values one can choose."""

    uid: str
    title: str
    variables: dict[str, str]
    rows: dict[str, tuple[Panel, ...]]

    def as_json(self) -> dict[str, Any]:
        """Return it as Grafana reads it."""
        panels: list[dict[str, Any]] = []
        y = 0
        for title, row in self.rows.items():
            panels.append({"type": "row", "title": title, "gridPos": _place(0, y, _COLUMNS, 1)})
            y, x = y + 1, 0
            for panel in row:
                if x + panel.width > _COLUMNS:
                    x, y = 0, y + 8
                panels.append(_panel(panel, x, y))
                x += panel.width
            y += 8
        for number, body in enumerate(panels, start=1):
            body["id"] = number
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["dragoman"],
            "schemaVersion": 39,
            "editable": False,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": _variables(self.variables)},
            "panels": panels,
        }


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, x: int, y: int) -> dict[str, Any]:
    custom: dict[str, Any] = {"fillOpacity": 10, "showPoints": "never"}
    if panel.stacked:
        custom |= {"stacking": {"mode": "normal"}, "fillOpacity": 40}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
        steps.append({"color": "red", "value": panel.limit})
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.why,
        "datasource": _SOURCE,
        "gridPos": _place(x, y, panel.width, 8),
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": custom if panel.kind == "timeseries" else {},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {"refId": chr(ord("A") + i), "expr": query, "legendFormat": legend, "datasource": _SOURCE}
            for i, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _variables(wanted: dict[str, str]) -> list[dict[str, Any]]:
    source = {"type": "datasource", "name": "datasource", "query": "prometheus", "label": "Prometheus"}
    return [source] + [
        {
            "type": "query",
            "name": name,
            "query": query,
            "datasource": _SOURCE,
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }
        for name, query in wanted.items()
    ]


_NS: Final = 'namespace=~"$namespace"'
_ADAPTER: Final = f'{_NS}, adapter=~"$adapter"'


def _p(share: float, metric: str, labels: str, by: str) -> str:
    inner = f"sum by ({by}, le) (rate({metric}_seconds_bucket{{{labels}}}[5m]))"
    return f"histogram_quantile({share}, {inner})"


FLEET: Final = Dashboard(
    uid="dragoman-fleet",
    title="Dragoman: fleet",
    variables={"namespace": "label_values(dragoman_saturation, namespace)"},
    rows={
        "How full": (
            Panel(
                "Saturation by pod",
                {"{{instance}}": f"dragoman_saturation{{{_NS}}}"},
                why="Demand over capacity: 1 is full, above that somebody waits.",
                limit=1.0,
            ),
            Panel(
                "Pods", {"scraped": f"count(dragoman_saturation{{{_NS}}})",
                         "filled by the load": f"sum(dragoman:demand:pods{{{_NS}}})",
                         "wanted at 0.7": f"ceil(sum(dragoman:demand:pods{{{_NS}}}) / 0.7)"},
                why="What the autoscaler would choose, before its limits.",
            ),
            Panel(
                "Requests in the engines",
                {"running": f"sum(vllm:num_requests_running{{{_NS}}})",
                 "waiting for a seat": f"sum(vllm:num_requests_waiting{{{_NS}}})",
                 "waiting for a slot": f"sum(dragoman_lora_waiting{{{_NS}}})"},
                stacked=True,
            ),
        ),
        "What users get": (
            Panel("Answers by status", {"{{status}}": f"sum by (status) (rate(dragoman_http_requests_total{{{_NS}}}[5m]))"},
                  unit="reqps", stacked=True, why="499 is a client that left."),
            Panel("Time to first token", {
                "p50": _p(0.5, "dragoman_time_to_first_token", _NS, "namespace"),
                "p95": _p(0.95, "dragoman_time_to_first_token", _NS, "namespace")},
                unit="s", limit=5.0),
            Panel("Time between tokens", {
                "p50": _p(0.5, "dragoman_inter_token", _NS, "namespace"),
                "p95": _p(0.95, "dragoman_inter_token", _NS, "namespace")},
                unit="s", limit=0.5),
            Panel("Generated tokens", {"{{adapter}}": f"topk(10, sum by (adapter) (rate(dragoman_completion_tokens_total{{{_NS}}}[5m])))"},
                  unit="short", stacked=True, why="The ten busiest adapters, tokens a second."),
            Panel("5xx share", {"{{namespace}}": f"dragoman:http_5xx:ratio5m{{{_NS}}}"}, unit="percentunit", limit=0.05),
            Panel("KV cache", {"{{instance}}": f"vllm:kv_cache_usage_perc{{{_NS}}}"}, unit="percentunit", limit=0.95),
        ),
        "Adapters in memory": (
            Panel("Loads by where from", {"{{source}}": f"sum by (source) (rate(dragoman_adapter_loads_total{{{_NS}}}[5m]))"}, unit="ops"),
            Panel("Evictions by tier", {"{{tier}}": f"sum by (tier) (rate(dragoman_adapter_evictions_total{{{_NS}}}[5m]))"}, unit="ops"),
            Panel("Time of a load", {"{{source}}, p95": f"dragoman:adapter_load_seconds:p95_15m{{{_NS}}}"}, unit="s", limit=2.0),
            Panel("Golden answers", {"{{outcome}}": f"sum by (outcome) (increase(dragoman_golden_checks_total{{{_NS}}}[15m]))"},
                  why="A mismatch is an adapter that does not answer as it was trained to; it is refused."),
            Panel("Resident memory", {"{{instance}}": f"process_resident_memory_bytes{{{_NS}}}"}, unit="bytes"),
            Panel("Series shown", {"{{instance}}": f"scrape_samples_scraped{{{_NS}}}"}, limit=200000),
        ),
    },
)  # fmt: skip

ADAPTER: Final = Dashboard(
    uid="dragoman-adapter",
    title="Dragoman: one adapter",
    variables={
        "namespace": "label_values(dragoman_saturation, namespace)",
        "adapter": "label_values(dragoman_requests_total, adapter)",
    },
    rows={
        "Use": (
            Panel("Requests by version", {"{{adapter}}@{{version}}": f"sum by (adapter, version) (rate(dragoman_requests_total{{{_ADAPTER}}}[5m]))"},
                  unit="reqps", stacked=True, why="A promotion is one colour giving way to the next."),
            Panel("How they end", {"{{outcome}}": f"sum by (outcome) (rate(dragoman_requests_total{{{_ADAPTER}}}[5m]))"}, unit="reqps", stacked=True,
                  why="`length` was cut at max_tokens: many of them are loops, or a limit too low."),
            Panel("Tokens", {
                "prompt": f"sum(rate(dragoman_prompt_tokens_total{{{_ADAPTER}}}[5m]))",
                "generated": f"sum(rate(dragoman_completion_tokens_total{{{_ADAPTER}}}[5m]))"}),
        ),
        "Waiting": (
            Panel("Time to first token, p95", {"{{adapter}}@{{version}}": _p(0.95, "dragoman_time_to_first_token", _ADAPTER, "adapter, version")}, unit="s", limit=5.0),
            Panel("In the queue, p95", {"{{adapter}}": _p(0.95, "dragoman_queue", _ADAPTER, "adapter")}, unit="s"),
            Panel("For a slot, p95", {"{{adapter}}": _p(0.95, "dragoman_deferred", _ADAPTER, "adapter")}, unit="s", limit=10.0,
                  why="The part of the queue for which other adapters had all slots."),
            Panel("Between tokens, p95", {"{{adapter}}": _p(0.95, "dragoman_inter_token", _ADAPTER, "adapter")}, unit="s", limit=0.5),
            Panel("Whole answers, p95", {"{{adapter}}": _p(0.95, "dragoman_request", _ADAPTER, "adapter")}, unit="s"),
            Panel("Where it lies", {"{{instance}} {{tier}} @{{version}}": f"dragoman_adapter_resident{{{_ADAPTER}}}"}),
        ),
    },
)  # fmt: skip

DASHBOARDS: Final = (FLEET, ADAPTER)


def files() -> dict[Path, str]:
    """Return what each dashboard's file should hold."""
    return {
        HERE / f"{d.uid.removeprefix('dragoman-')}.json": json.dumps(d.as_json(), indent=1) + "\n"
        for d in DASHBOARDS
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")

"""The Grafana dashboards beside this file, by Grafana's own SDK.

    python deploy/dashboards/build.py

Grafana's JSON is a thousand lines a dashboard, nearly all of them alike; here is what differs.
A test holds the files equal to what this writes, and every metric in them to a live server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    GraphTresholdsStyleMode,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

HERE: Final = Path(__file__).parent
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_NS: Final = 'namespace=~"$namespace"'
_ENDED: Final = "dragoman_requests_total"
_GENERATED: Final = "dragoman_completion_tokens_total"
_ADAPTER: Final = f'{_NS}, adapter=~"$adapter"'
Panel = timeseries.Panel


def graph(
    title: str, unit: str, queries: dict[str, str], *, why: str = "", limit: float | None = None
) -> Panel:
    """Return a graph of queries by legend; red from `limit` on, as an alert has it."""
    panel = (
        Panel().title(title).description(why).unit(unit).min(0).datasource(_SOURCE).span(8).height(8)
        .fill_opacity(10).show_points(VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .legend(common.VizLegendOptions().show_legend(show_legend=True))
    )  # fmt: skip
    for legend, expression in queries.items():
        query = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(_SOURCE)
        panel = panel.with_target(query)
    if limit is None:
        return panel
    steps = [Threshold(color="green"), Threshold(color="red", value=limit)]
    shown = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE)
    levels = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    return panel.thresholds(levels).thresholds_style(shown)


def stacked(title: str, unit: str, queries: dict[str, str], *, why: str = "") -> Panel:
    """Return a graph whose parts add up to what is of interest."""
    piled = common.StackingConfig().mode(StackingMode.NORMAL)
    return graph(title, unit, queries, why=why).stacking(piled).fill_opacity(40)


def page(
    uid: str, title: str, variables: dict[str, str], rows: dict[str, list[Panel]]
) -> dashboard.Dashboard:
    """Return a dashboard; `variables` are what one can choose, by the query of their values."""
    found = (
        dashboard.Dashboard(title).uid(uid).tags(["dragoman"]).refresh("30s").time("now-3h", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
    )  # fmt: skip
    for name, query in variables.items():
        choice = dashboard.QueryVariable(name).query(query).datasource(_SOURCE).multi(multi=True)
        choice = choice.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        found = found.with_variable(choice.include_all(include_all=True).all_value(".*"))
    for row, panels in rows.items():
        found = found.with_row(dashboard.Row(row))
        for panel in panels:
            found = found.with_panel(panel)
    return found


def quantile(share: float, metric: str, labels: str, by: str) -> str:
    """Return the query of a quantile of a histogram of seconds, over five minutes."""
    rate = f"sum by ({by}, le) (rate({metric}_seconds_bucket{{{labels}}}[5m]))"
    return f"histogram_quantile({share}, {rate})"


def per_s(by: str, metric: str, labels: str = _NS) -> str:
    """Return the query of a counter's rate, over five minutes."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[5m]))"


def waits(title: str, metric: str, limit: float, *, by: str = "namespace") -> Panel:
    """Return a graph of the median and of what one in twenty exceeds."""
    both = {f"p{round(100 * s)}": quantile(s, metric, _NS, by) for s in (0.5, 0.95)}
    return graph(title, "s", both, limit=limit)


def slow(title: str, metric: str, *, limit: float | None = None, why: str = "") -> Panel:
    """Return a graph of what one in twenty exceeds, by adapter."""
    query = quantile(0.95, metric, _ADAPTER, "adapter")
    return graph(f"{title}, p95", "s", {"{{adapter}}": query}, limit=limit, why=why)


FLEET: Final = page(
    "dragoman-fleet",
    "Dragoman: fleet",
    {"namespace": "label_values(dragoman_saturation, namespace)"},
    {
        "How full": [
            graph(
                "Saturation by pod", "short", {"{{instance}}": f"dragoman_saturation{{{_NS}}}"},
                why="Demand over capacity: 1 is full, above that somebody waits.", limit=1,
            ),
            graph(
                "Utilization by pod", "percentunit",
                {"{{instance}}": f"dragoman_utilization{{{_NS}}}"},
                why="Throughput as a share of a full batch's: what pods are added by.", limit=1,
            ),
            graph(
                "Pods", "short",
                {
                    "scraped": f"count(dragoman_saturation{{{_NS}}})",
                    "filled by the load": f"sum(dragoman:demand:pods{{{_NS}}})",
                    "wanted at 0.7": f"ceil(sum(dragoman:demand:pods{{{_NS}}}) / 0.7)",
                },
                why="What the autoscaler divides, and what it would choose before its limits.",
            ),
            stacked(
                "Requests in the engines", "short",
                {
                    "running": f"sum(vllm:num_requests_running{{{_NS}}})",
                    "waiting for a seat": f"sum(vllm:num_requests_waiting{{{_NS}}})",
                    "waiting for a slot": f"sum(dragoman_lora_waiting{{{_NS}}})",
                },
            ),
        ],
        "What users get": [
            stacked(
                "Answers by status", "reqps",
                {"{{status}}": per_s("status", "dragoman_http_requests_total")},
                why="499 is a client that left.",
            ),
            waits("Time to first token", "dragoman_time_to_first_token", 5),
            waits("Time between tokens", "dragoman_inter_token", 0.5),
            stacked(
                "Generated tokens a second", "short",
                {"{{adapter}}": f"topk(10, {per_s('adapter', _GENERATED)})"},
                why="The ten busiest adapters.",
            ),
            graph(
                "Share of 5xx", "percentunit",
                {"{{namespace}}": f"dragoman:http_5xx:ratio5m{{{_NS}}}"}, limit=0.05,
            ),
            stacked(
                "Refused at the door", "reqps",
                {"{{reason}}": per_s("reason", "dragoman_shed_total")},
                why="`overloaded` is ours to mend; the others are a key's limits, or its mistake.",
            ),
            graph(
                "Work taken on", "s", {"{{instance}}": f"dragoman_backlog_seconds{{{_NS}}}"},
                why="How long it will take; `limits.backlog_s` bounds it.", limit=30,
            ),
            graph(
                "KV cache", "percentunit",
                {"{{instance}}": f"vllm:kv_cache_usage_perc{{{_NS}}}"}, limit=0.95,
            ),
        ],
        "Adapters in memory": [
            graph("Loads", "ops", {"{{source}}": per_s("source", "dragoman_adapter_loads_total")}),
            graph(
                "Evictions", "ops",
                {"{{tier}}": per_s("tier", "dragoman_adapter_evictions_total")},
            ),
            graph(
                "Time of a load, p95", "s",
                {"{{source}}": f"dragoman:adapter_load_seconds:p95_15m{{{_NS}}}"}, limit=2,
            ),
            graph(
                "Golden answers checked", "ops",
                {"{{outcome}}": per_s("outcome", "dragoman_golden_checks_total")},
                why="A mismatch: an adapter that does not answer as trained; it is refused.",
            ),
            graph("Memory", "bytes", {"{{instance}}": f"process_resident_memory_bytes{{{_NS}}}"}),
            graph(
                "Series shown", "short",
                {"{{instance}}": f"scrape_samples_scraped{{{_NS}}}"}, limit=200000,
            ),
        ],
    },
)  # fmt: skip

ADAPTER: Final = page(
    "dragoman-adapter",
    "Dragoman: one adapter",
    {
        "namespace": "label_values(dragoman_saturation, namespace)",
        "adapter": "label_values(dragoman_requests_total, adapter)",
    },
    {
        "Use": [
            stacked(
                "Requests by version", "reqps",
                {"{{adapter}}@{{version}}": per_s("adapter, version", _ENDED, _ADAPTER)},
                why="A promotion is one colour giving way to the next.",
            ),
            stacked(
                "How they end", "reqps",
                {"{{outcome}}": per_s("outcome", _ENDED, _ADAPTER)},
                why="`length` was cut at max_tokens: many of them are loops, or a limit too low.",
            ),
            graph(
                "Tokens a second", "short",
                {
                    "prompt": f"sum(rate(dragoman_prompt_tokens_total{{{_ADAPTER}}}[5m]))",
                    "generated": f"sum(rate(dragoman_completion_tokens_total{{{_ADAPTER}}}[5m]))",
                },
            ),
        ],
        "Waiting": [
            slow("Time to first token", "dragoman_time_to_first_token", limit=5),
            slow("In the queue", "dragoman_queue"),
            slow(
                "For a slot", "dragoman_deferred", limit=10,
                why="The part of the queue for which other adapters had all slots.",
            ),
            slow("Between tokens", "dragoman_inter_token", limit=0.5),
            slow("Whole answers", "dragoman_request"),
            graph(
                "Where it lies", "short",
                {"{{instance}} {{tier}} @{{version}}": f"dragoman_adapter_resident{{{_ADAPTER}}}"},
            ),
        ],
    },
)  # fmt: skip


def progress(title: str, unit: str, metric: str, *, why: str = "") -> Panel:
    """Return a graph of one figure of runs of training."""
    query = f"dragoman_training_{metric}{{{_ADAPTER}}}"
    return graph(title, unit, {"{{adapter}}": query}, why=why)


_RUNS: Final = f'{_NS}, job=~".*dragoman.*"'
_MEMORY: Final = f"process_resident_memory_bytes{{{_RUNS}}}"
_PROCESSOR: Final = f"rate(process_cpu_seconds_total{{{_RUNS}}}[5m])"
_DONE: Final = f"dragoman_training_step{{{_ADAPTER}}} / dragoman_training_steps{{{_ADAPTER}}}"
TRAINING: Final = page(
    "dragoman-training",
    "Dragoman: training",
    {
        "namespace": "label_values(dragoman_training_step, namespace)",
        "adapter": "label_values(dragoman_training_step, adapter)",
    },
    {
        "Progress": [
            graph("Done", "percentunit", {"{{adapter}}": _DONE}),
            progress("Speed", "short", "tokens_per_second", why="Tokens a second, no padding."),
            progress("Tokens seen", "short", "tokens"),
        ],
        "Quality": [
            progress("Loss", "short", "loss"),
            progress(
                "Loss on dev", "short", "dev_loss",
                why="Where it rises while the loss falls, fewer epochs would have done.",
            ),
            progress("chrF++ on dev", "short", "dev_chrf", why="With early stopping by chrF++."),
        ],
        "Machine": [
            graph("Memory", "bytes", {"{{instance}}": _MEMORY}),
            graph("Processor", "percentunit", {"{{instance}}": _PROCESSOR}, why="1 is one core."),
        ],
    },
)  # fmt: skip

DASHBOARDS: Final = {"fleet.json": FLEET, "adapter.json": ADAPTER, "training.json": TRAINING}


def text_of(made: dashboard.Dashboard) -> str:
    """Return a dashboard as Grafana reads it."""
    built = made.build()
    for number, panel in enumerate(built.panels or (), start=1):
        panel.id_val = number  # the SDK gives rows 0, all of them
    return json.dumps(built, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def files() -> dict[Path, str]:
    """Return what each dashboard's file should hold."""
    return {HERE / name: text_of(made) for name, made in DASHBOARDS.items()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")

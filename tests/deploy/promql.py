"""Every PromQL expression in deploy/, and the metrics and labels that it asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import promql_parser as promql
import yaml

from tests.deploy.rendered import ROOT

_DEPLOY: Final = ROOT / "deploy"
# What Prometheus itself adds to whatever it scrapes.
OF_THE_TARGET: Final = frozenset({"namespace", "instance", "job", "pod"})
OF_THE_SCRAPE: Final = frozenset({"up", "scrape_samples_scraped"})


@dataclass(frozen=True)
class Use:
    """A metric that an expression reads, and the labels that it needs of it."""

    metric: str
    labels: frozenset[str]


@dataclass(frozen=True)
class Expression:
    """PromQL, and where it stands."""

    where: str
    text: str
    records: str | None = None

    def uses(self) -> list[Use]:
        """Return the metrics that it reads."""
        return list(_uses(promql.parse(self.text), frozenset()))

    def labels(self) -> frozenset[str]:
        """Return the labels of its result, as far as the expression names them."""
        return frozenset().union(*(use.labels for use in self.uses()))


def rules() -> Iterator[Expression]:
    """Yield recording rules and alerts."""
    for path in sorted((_DEPLOY / "prometheus").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                name = rule.get("record") or rule["alert"]
                yield Expression(f"{path.name}: {name}", rule["expr"], rule.get("record"))


def scalers() -> Iterator[Expression]:
    """Yield what autoscalers ask."""
    components = _DEPLOY / "kustomize/components"
    keda = yaml.safe_load((components / "keda/scaledobject.yaml").read_text(encoding="utf-8"))
    for trigger in keda["spec"]["triggers"]:
        yield Expression("keda", trigger["metadata"]["query"])
    adapter = yaml.safe_load((components / "hpa/metrics-adapter.yaml").read_text(encoding="utf-8"))
    for rule in adapter["rules"]["external"]:
        yield Expression("hpa", rule["seriesQuery"])


def panels() -> Iterator[Expression]:
    """Yield what dashboards ask, their variables' values included."""
    for path in sorted((_DEPLOY / "dashboards").glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                text = re.sub(r"\$\w+", ".*", target["expr"])
                yield Expression(f"{path.name}: {panel['title']}", text)
        for variable in board["templating"]["list"]:
            if found := re.fullmatch(r"label_values\((\w+), (\w+)\)", str(variable.get("query"))):
                metric, label = found.groups()
                yield Expression(
                    f"{path.name}: ${variable['name']}", f"sum by ({label}) ({metric})"
                )


def picker() -> set[str]:
    """Return the metrics that the endpoint picker reads, by its own names."""
    path = _DEPLOY / "kustomize/components/inference-gateway/picker-config.yaml"
    plugins = yaml.safe_load(path.read_text(encoding="utf-8"))["plugins"]
    (extractor,) = (p for p in plugins if p["type"] == "core-metrics-extractor")
    (engine,) = extractor["parameters"]["engineConfigs"]
    return {value for key, value in engine.items() if key.endswith("Spec")}


def _uses(node: Any, needed: frozenset[str]) -> Iterator[Use]:
    if isinstance(node, promql.VectorSelector):
        matched = {m.name for m in node.matchers.matchers}
        yield Use(str(node.name), needed | matched)
        return
    modifier = getattr(node, "modifier", None)
    if isinstance(node, promql.AggregateExpr) and modifier is not None:
        needed = needed | frozenset(modifier.labels)
    if isinstance(node, promql.BinaryExpr) and modifier is not None and modifier.matching:
        needed = needed | frozenset(modifier.matching.labels)
    for child in ("expr", "lhs", "rhs", "vector_selector", "vs"):
        if (inner := getattr(node, child, None)) is not None:
            yield from _uses(inner, needed)
    for argument in getattr(node, "args", None) or ():
        yield from _uses(argument, needed)

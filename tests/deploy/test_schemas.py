"""Every manifest says only what its reader knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.rendered import BUILDS, OVERLAYS, Manifest, of_kind, rendered
from tests.deploy.schemas import faults

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [*OVERLAYS, *BUILDS])
def test_manifests_hold_to_their_schemas(name: str) -> None:
    assert [f for manifest in rendered(name) for f in faults(manifest)] == []


def spec(manifests: list[Manifest], kind: str) -> Any:
    return next(of_kind(manifests, kind))["spec"]


SPOILT: list[tuple[str, str, str, Callable[[Any], Any]]] = [
    ("an unknown key", "multi-replica", "Deployment", lambda s: s.update(replica=3)),
    ("an unknown key deep inside", "multi-replica", "Deployment",
     lambda s: s["template"]["spec"]["containers"][0].update(securityContexts={})),
    ("a wrong type", "multi-replica", "PodDisruptionBudget",
     lambda s: s["selector"].update(matchLabels=3)),
    ("an unknown key of the HPA", "hpa", "HorizontalPodAutoscaler",
     lambda s: s.update(minReplica=1)),
    ("an unknown key of the claim", "multi-replica", "ResourceClaimTemplate",
     lambda s: s["spec"]["devices"]["requests"][0].update(deviceClassName="gpu.nvidia.com")),
    ("an unknown key of KEDA", "multi-replica", "ScaledObject", lambda s: s.update(maxReplicas=8)),
    ("an unknown key of a KEDA trigger", "multi-replica", "ScaledObject",
     lambda s: s["triggers"][0].update(query="up")),
    ("an unknown fallback", "multi-replica", "ScaledObject",
     lambda s: s["fallback"].update(behavior="max")),
    ("an unknown key of the monitor", "single-gpu", "PodMonitor",
     lambda s: s["podMetricsEndpoints"][0].update(scheme_="http")),
    ("a missing key of the monitor", "single-gpu", "PodMonitor", lambda s: s.pop("selector")),
    ("an unknown key of a rule", "single-gpu", "PrometheusRule",
     lambda s: s["groups"][0]["rules"][0].update(severity="page")),
    ("an unknown key of the pool", "multi-replica", "InferencePool",
     lambda s: s.update(extensionRef={})),
    ("a missing key of the pool", "multi-replica", "InferencePool", lambda s: s.pop("targetPorts")),
    ("an unknown mode of the pool", "multi-replica", "InferencePool",
     lambda s: s["endpointPickerRef"].update(failureMode="Open")),
    ("an unknown key of the route", "multi-replica", "HTTPRoute",
     lambda s: s["rules"][0].update(timeout="300s")),
    ("an unknown key of the add-on", "scale-to-zero", "HTTPScaledObject",
     lambda s: s.update(host="x")),
    ("an unknown key of the job", "kubeflow-trainjob", "TrainJob",
     lambda s: s["trainer"].update(nodes=2)),
    ("an unknown key of the runtime's pods", "kubeflow-trainjob", "TrainingRuntime",
     lambda s: s["template"]["spec"]["replicatedJobs"][0]["template"]["spec"].update(limit=0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "spoil"), [s[1:] for s in SPOILT], ids=[s[0] for s in SPOILT]
)
def test_what_no_schema_has_is_found(name: str, kind: str, spoil: Callable[[Any], Any]) -> None:
    manifests = rendered(name)
    spoil(spec(manifests, kind))
    assert [f for manifest in manifests for f in faults(manifest)]


def test_an_unknown_kind_is_found() -> None:
    unknown = {
        "apiVersion": "example.com/v1",
        "kind": "Thing",
        "metadata": {"name": "x"},
        "spec": {},
    }
    assert len(list(faults(unknown))) == 1

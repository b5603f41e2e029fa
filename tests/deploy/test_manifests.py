"""Every overlay and component renders, obeys each policy, and each policy can be broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.deploy import policies
from tests.deploy.rendered import (
    BUILDS,
    KUSTOMIZE,
    OVERLAYS,
    Manifest,
    containers,
    of_kind,
    pods,
    rendered,
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [*OVERLAYS, *BUILDS])
@pytest.mark.parametrize("policy", policies.ALL, ids=lambda p: p.__name__)
def test_policies_hold(name: str, policy: policies.Policy) -> None:
    assert list(policy(rendered(name))) == []


def test_every_component_is_rendered_somewhere() -> None:
    used = {c for parts in BUILDS.values() for c in parts["components"]}
    for name in OVERLAYS:
        text = (KUSTOMIZE / "overlays" / name / "kustomization.yaml").read_text(encoding="utf-8")
        used |= {p.name for p in (KUSTOMIZE / "components").iterdir() if f"components/{p.name}\n" in
                 text.replace(" ", "\n")}  # fmt: skip
    assert used == {p.name for p in (KUSTOMIZE / "components").iterdir()}


def deployment(manifests: list[Manifest]) -> Any:
    found = of_kind(manifests, "Deployment")
    return next(m for m in found if m["metadata"]["name"] == "dragoman")


def server(manifests: list[Manifest]) -> Any:
    return deployment(manifests)["spec"]["template"]["spec"]


def job(manifests: list[Manifest]) -> Any:
    return next(of_kind(manifests, "Job"))["spec"]


def policy_of(manifests: list[Manifest], name: str) -> Any:
    found = of_kind(manifests, "NetworkPolicy")
    return next(m for m in found if m["metadata"]["name"] == name)["spec"]


MUTANTS: list[tuple[str, str, Callable[[list[Manifest]], Any]]] = [
    ("confined", "multi-replica", lambda m: server(m)["securityContext"].pop("runAsNonRoot")),
    ("confined", "multi-replica", lambda m: server(m)["securityContext"].pop("seccompProfile")),
    ("confined", "multi-replica", lambda m: server(m)["initContainers"][0].pop("securityContext")),
    ("confined", "training", lambda m: job(m)["template"]["spec"]["containers"][0][
        "securityContext"].update(readOnlyRootFilesystem=False)),
    ("without_surprises_in_the_environment", "single-gpu",
     lambda m: server(m).pop("enableServiceLinks")),
    ("without_surprises_in_the_environment", "single-gpu",
     lambda m: server(m).pop("automountServiceAccountToken")),
    ("bounded", "local-cpu", lambda m: server(m)["containers"][0].pop("resources")),
    ("bounded", "local-cpu", lambda m: server(m)["containers"][0]["resources"]["limits"].update(
        memory="99Gi")),
    ("bounded", "local-cpu", lambda m: next(v for v in server(m)["volumes"] if v["name"] == "tmp")[
        "emptyDir"].clear()),
    ("ends_in_peace", "single-gpu", lambda m: server(m).update(terminationGracePeriodSeconds=65)),
    ("ends_in_peace", "single-gpu", lambda m: server(m)["containers"][0].pop("lifecycle")),
    ("starts_slowly", "single-gpu",
     lambda m: server(m)["containers"][0]["startupProbe"].update(failureThreshold=179)),
    ("starts_slowly", "single-gpu",
     lambda m: server(m)["containers"][0]["livenessProbe"]["httpGet"].update(path="/ready")),
    ("hangs_together", "multi-replica",
     lambda m: next(of_kind(m, "PodDisruptionBudget"))["spec"]["selector"]["matchLabels"].update(
         {"app.kubernetes.io/component": "server"})),
    ("hangs_together", "multi-replica",
     lambda m: server(m)["containers"][0]["ports"][0].update(name="web")),
    ("hangs_together", "multi-replica",
     lambda m: next(v for v in server(m)["volumes"] if v["name"] == "config")[
         "configMap"].update(name="dragoman-serving")),
    ("hangs_together", "multi-replica",
     lambda m: next(v for v in server(m)["volumes"] if v["name"] == "models").update(emptyDir={})),
    ("one_hand_on_the_replicas", "multi-replica",
     lambda m: deployment(m)["spec"].update(replicas=3)),
    ("one_hand_on_the_replicas", "hpa",
     lambda m: m.append({**next(of_kind(m, "HorizontalPodAutoscaler")), "kind": "ScaledObject"})),
    ("closed", "single-gpu", lambda m: m.remove(next(
        p for p in of_kind(m, "NetworkPolicy") if p["metadata"]["name"] == "default-deny"))),
    ("closed", "training", lambda m: policy_of(m, "dragoman-training").update(
        policyTypes=["Ingress"])),
    ("closed", "single-gpu",
     lambda m: policy_of(m, "dragoman-serving")["ingress"][0].pop("from")),
    ("pinned", "single-gpu",
     lambda m: server(m)["containers"][0].update(image="registry.example.com/dragoman:latest")),
    ("trains_once", "training", lambda m: job(m).update(backoffLimit=6)),
    ("trains_once", "training",
     lambda m: job(m)["template"]["spec"].update(restartPolicy="OnFailure")),
    ("trains_once", "training", lambda m: job(m).pop("activeDeadlineSeconds")),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "name", "spoil"), MUTANTS, ids=range(len(MUTANTS)))
def test_a_spoilt_manifest_is_found(
    policy: str, name: str, spoil: Callable[[list[Manifest]], Any]
) -> None:
    manifests = rendered(name)
    spoil(manifests)
    assert list(getattr(policies, policy)(manifests))


def test_every_policy_has_a_mutant() -> None:
    assert {name for name, _, _ in MUTANTS} == {policy.__name__ for policy in policies.ALL}


def test_keda_scales_as_the_plain_autoscaler_does() -> None:
    plain = next(of_kind(rendered("hpa"), "HorizontalPodAutoscaler"))["spec"]
    (keda,) = of_kind(rendered("multi-replica"), "ScaledObject")
    body = keda["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert body == plain["behavior"]
    (trigger,) = keda["spec"]["triggers"]
    (metric,) = plain["metrics"]
    target = metric["external"]["target"]["averageValue"]
    assert float(trigger["metadata"]["threshold"]) == float(target.removesuffix("m")) / 1000


def test_the_metrics_adapter_serves_what_the_plain_autoscaler_asks_for() -> None:
    (metric,) = next(of_kind(rendered("hpa"), "HorizontalPodAutoscaler"))["spec"]["metrics"]
    values = KUSTOMIZE / "components" / "hpa" / "metrics-adapter.yaml"
    (rule,) = yaml.safe_load(values.read_text(encoding="utf-8"))["rules"]["external"]
    assert rule["name"]["as"] == metric["external"]["metric"]["name"]
    (keda,) = of_kind(rendered("multi-replica"), "ScaledObject")
    assert rule["seriesQuery"] in keda["spec"]["triggers"][0]["metadata"]["query"]


def test_a_container_s_name_is_not_used_twice() -> None:
    for name in OVERLAYS:
        for _, template in pods(rendered(name)):
            names = [c["name"] for c in containers(template)]
            assert len(names) == len({*names})

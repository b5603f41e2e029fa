"""What must hold of manifests, beyond their schemas: each yields what is wrong, a line a fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import yaml

from tests.deploy.rendered import Manifest, containers, of_kind, pods

Policy = Callable[[list[Manifest]], Iterator[str]]
# What vLLM may take to end after the drain (serving/supervisor.py).
_KILL_AFTER_S: Final = 10
# The only one that asks the Kubernetes API.
_ASKS_THE_API: Final = frozenset({"Deployment/dragoman-picker"})


def confined(manifests: list[Manifest]) -> Iterator[str]:
    """Pods run as nobody in particular, and can neither gain rights nor write to their image."""
    for name, template in pods(manifests):
        pod = template["spec"].get("securityContext", {})
        if not pod.get("runAsNonRoot") or not pod.get("runAsUser"):
            yield f"{name}: may run as root"
        if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name}: no seccomp profile"
        for container in containers(template):
            own = container.get("securityContext", {})
            if (
                own.get("allowPrivilegeEscalation") is not False
                or own.get("readOnlyRootFilesystem") is not True
                or own.get("capabilities") != {"drop": ["ALL"]}
            ):
                yield f"{name}, {container['name']}: {own}"


def without_surprises_in_the_environment(manifests: list[Manifest]) -> Iterator[str]:
    """Service links would set DRAGOMAN_PORT; a token is for those who ask the API."""
    for name, template in pods(manifests):
        if template["spec"].get("enableServiceLinks") is not False:
            yield f"{name}: service links set DRAGOMAN_PORT=tcp://…, which is a setting of ours"
        token = template["spec"].get("automountServiceAccountToken") is not False
        if token and name not in _ASKS_THE_API:
            yield f"{name}: has a token of the Kubernetes API"


def bounded(manifests: list[Manifest]) -> Iterator[str]:
    """Every container says what it needs and where its memory ends; scratch volumes are bounded."""
    for name, template in pods(manifests):
        for container in containers(template):
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
                yield f"{name}, {container['name']}: no requests for cpu and memory"
            asked, most = resources.get("requests", {}), resources.get("limits", {})
            if asked.get("memory") != most.get("memory"):
                yield f"{name}, {container['name']}: memory that is not its own may be taken back"
        for volume in template["spec"].get("volumes", ()):
            if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
                yield f"{name}, volume {volume['name']}: fills the node's disk"


def settings(manifests: list[Manifest]) -> Iterator[dict[str, Any]]:
    """Yield the serving.yaml of each configuration."""
    for manifest in of_kind(manifests, "ConfigMap"):
        if "serving.yaml" in manifest["data"]:
            yield yaml.safe_load(manifest["data"]["serving.yaml"])


def ends_in_peace(manifests: list[Manifest]) -> Iterator[str]:
    """The grace period is longer than the pause, the drain, and vLLM's end together."""
    drain = max((s["shutdown_timeout_s"] for s in settings(manifests)), default=0)
    for name, template in _servers(manifests):
        server = _server(template)
        pause = server.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        grace = template["spec"].get("terminationGracePeriodSeconds", 30)
        if not pause:
            yield f"{name}: no pause before SIGTERM, so balancers send to a server that refuses"
        if grace <= pause + drain + _KILL_AFTER_S:
            yield f"{name}: {grace} s of grace for {pause} + {drain} + {_KILL_AFTER_S} s"


def starts_slowly(manifests: list[Manifest]) -> Iterator[str]:
    """The start-up probe waits as long as the server may take; no probe asks the wrong question."""
    allowed = max((s["start_timeout_s"] for s in settings(manifests)), default=0)
    for name, template in _servers(manifests):
        server = _server(template)
        paths = {p: server.get(p, {}).get("httpGet", {}).get("path") for p in _PROBES}
        if paths != _PROBES:
            yield f"{name}: probes ask {paths}"
            continue
        probe = server["startupProbe"]
        if probe["periodSeconds"] * probe["failureThreshold"] < allowed:
            yield f"{name}: killed before start_timeout_s ({allowed} s) is over"


_PROBES: Final = {"startupProbe": "/startup", "readinessProbe": "/ready", "livenessProbe": "/live"}


def hangs_together(manifests: list[Manifest]) -> Iterator[str]:
    """Selectors find pods, and what pods name is there: ports, volumes, maps."""
    labels = [template["metadata"]["labels"] for _, template in pods(manifests)]
    for manifest in manifests:
        wanted = _selector(manifest)
        if wanted and not any(wanted.items() <= have.items() for have in labels):
            yield f"{manifest['kind']}/{manifest['metadata']['name']}: selects no pod by {wanted}"
    names = {(m["kind"], m["metadata"]["name"]) for m in manifests}
    for name, template in pods(manifests):
        volumes = {v["name"]: v for v in template["spec"].get("volumes", ())}
        for container in containers(template):
            yield from _loose_ends(f"{name}, {container['name']}", container, volumes.keys())
        for volume in volumes.values():
            kinds = set(volume) - {"name"}
            if len(kinds) != 1:
                yield f"{name}, volume {volume['name']}: is {sorted(kinds)} at once"
            config = volume.get("configMap")
            if config and ("ConfigMap", config["name"]) not in names:
                yield f"{name}: no ConfigMap {config['name']}"


def _loose_ends(name: str, container: Manifest, volumes: Iterable[str]) -> Iterator[str]:
    ports = {p["name"] for p in container.get("ports", ())}
    for probe in _PROBES:
        port = container.get(probe, {}).get("httpGet", {}).get("port")
        if isinstance(port, str) and port not in ports:
            yield f"{name}: {probe} asks port {port}"
    for mount in container.get("volumeMounts", ()):
        if mount["name"] not in volumes:
            yield f"{name}: mounts {mount['name']}, which is no volume"


def one_hand_on_the_replicas(manifests: list[Manifest]) -> Iterator[str]:
    """Where something scales a deployment, nothing else does, and no manifest says how many."""
    scalers = list(of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"))
    if len(scalers) > 1:
        yield f"{len(scalers)} autoscalers pull at one deployment"
    scaled = {s["spec"]["scaleTargetRef"]["name"] for s in scalers}
    for deployment in of_kind(manifests, "Deployment"):
        name = deployment["metadata"]["name"]
        if name in scaled and "replicas" in deployment["spec"]:
            replicas = deployment["spec"]["replicas"]
            yield f"Deployment/{name}: every apply would set {replicas} replicas"
        if name not in scaled and "replicas" not in deployment["spec"] and scaled:
            yield f"Deployment/{name}: neither scaled nor counted"


def closed(manifests: list[Manifest]) -> Iterator[str]:
    """Where policies are used at all, they hold every pod in both directions, and name who may."""
    policies = list(of_kind(manifests, "NetworkPolicy"))
    if not policies:
        return
    owned = next(of_kind(manifests, "Namespace"), None)
    if owned and not any(_denies_by_default(policy["spec"]) for policy in policies):
        yield f"Namespace/{owned['metadata']['name']}: a pod that no policy names may do anything"
    for name, template in pods(manifests):
        labels = template["metadata"]["labels"].items()
        held = {
            direction
            for policy in policies
            if policy["spec"]["podSelector"].get("matchLabels", {}).items() <= labels
            for direction in policy["spec"]["policyTypes"]
        }
        if held != {"Ingress", "Egress"}:
            yield f"{name}: no policy denies what is not listed, {sorted(held)} only"
    for policy in policies:
        for rule in policy["spec"].get("ingress", ()):
            if not rule.get("from"):
                yield f"{policy['metadata']['name']}: lets everybody in"
        for rule in policy["spec"].get("egress", ()):
            if not rule.get("ports"):
                yield f"{policy['metadata']['name']}: lets everything out"


def _denies_by_default(policy: Manifest) -> bool:
    both = set(policy["policyTypes"]) == {"Ingress", "Egress"}
    return both and not (policy["podSelector"] or policy.get("ingress") or policy.get("egress"))


def pinned(manifests: list[Manifest]) -> Iterator[str]:
    """No image is what a tag means today, and none names where it is pulled from: overlays do."""
    for name, template in pods(manifests):
        for container in containers(template):
            image = container["image"]
            if image.endswith(":latest") or "/" in image:
                yield f"{name}: image {image}"


def trains_once(manifests: list[Manifest]) -> Iterator[str]:
    """A run that failed is not tried again, unless only the node was lost; it ends some day."""
    for job in of_kind(manifests, "Job", "CronJob"):
        spec = job["spec"]["jobTemplate"]["spec"] if job["kind"] == "CronJob" else job["spec"]
        name = f"{job['kind']}/{job['metadata']['name']}"
        if spec["template"]["spec"].get("restartPolicy") != "Never":
            yield f"{name}: restarted in place, where nobody reads the first log"
        if spec.get("backoffLimit") != 0 and "podFailurePolicy" not in spec:
            yield f"{name}: a fault of the recipe is tried again"
        if not spec.get("activeDeadlineSeconds"):
            yield f"{name}: may hang for ever"
        if not re.search(r"--resume", str(spec["template"]["spec"]["containers"])):
            yield f"{name}: starts anew where it could go on"


ALL: Final[tuple[Policy, ...]] = (
    confined, without_surprises_in_the_environment, bounded, ends_in_peace, starts_slowly,
    hangs_together, one_hand_on_the_replicas, closed, pinned, trains_once,
)  # fmt: skip


def _servers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    return ((n, t) for n, t in pods(manifests) if any(c["name"] == "server" for c in containers(t)))


def _server(template: Manifest) -> Manifest:
    return next(c for c in containers(template) if c["name"] == "server")


def _selector(manifest: Manifest) -> dict[str, str]:
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Service":
        return dict(spec["selector"])
    if manifest["kind"] == "NetworkPolicy":
        return dict(spec["podSelector"].get("matchLabels", {}))
    if manifest["kind"] in ("Deployment", "PodDisruptionBudget", "InferencePool", "PodMonitor"):
        return dict(spec["selector"]["matchLabels"])
    return {}

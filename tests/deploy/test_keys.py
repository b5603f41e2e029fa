"""Who may call what is deployed: settings of a file, variables and Secrets, all together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

import dragoman
from adapters.errors import SettingsInvalid
from serving.door.key import hash_of
from serving.settings import ServingSettings, load_settings
from serving.settings_rules import is_loopback
from tests.deploy.rendered import OVERLAYS, ROOT, Manifest, containers, of_kind, pods, rendered
from tests.deploy.schemas import faults

pytestmark = pytest.mark.slow

POSTGRES: Final = "postgresql://dragoman:secret@postgres/dragoman"


def keys(*names: str) -> str:
    return "".join(f"- name: {name}\n  hash: {hash_of(name)}\n" for name in names)


class Node:
    """One pod's files and variables, as a kubelet makes them of a Secret."""

    def __init__(self, folder: Path, manifests: list[Manifest], secret: Mapping[str, str]) -> None:
        self._folder = folder
        self._pod: Any = next(t["spec"] for n, t in pods(manifests) if n == "Deployment/dragoman")
        (self._server,) = (c for c in self._pod["containers"] if c["name"] == "server")
        (self._config,) = (
            m["data"]["serving.yaml"]
            for m in of_kind(manifests, "ConfigMap")
            if "serving.yaml" in m["data"]
        )
        self._secret = secret
        self.write(secret)

    def write(self, secret: Mapping[str, str]) -> None:
        """Show a Secret's new content, by a link that is replaced (atomic_writer.go)."""
        (mount,) = (m for m in self._server["volumeMounts"] if m["name"] == "keys")
        (volume,) = (v["secret"] for v in self._pod["volumes"] if v["name"] == "keys")
        assert "subPath" not in mount
        at = self._at(mount["mountPath"])
        at.mkdir(parents=True, exist_ok=True)
        data = at / f"..{len(list(at.iterdir()))}"
        data.mkdir()
        for item in volume["items"]:
            (data / item["path"]).write_text(secret[item["key"]], encoding="utf-8")
            if not (at / item["path"]).is_symlink():
                (at / item["path"]).symlink_to(Path("..data", item["path"]))
        (at / "..new").symlink_to(data.name)
        (at / "..new").replace(at / "..data")

    def settings(self) -> ServingSettings:
        """Return what a server in the pod goes by. Raises SettingsInvalid."""
        (self._folder / "serving.yaml").write_text(self._config, encoding="utf-8")
        environment = dict(self._variables())
        return load_settings({}, config=self._folder / "serving.yaml", environment=environment)

    def _variables(self) -> list[tuple[str, str]]:
        found = []
        for each in self._server["env"]:
            if "value" in each:
                is_file = each["name"].endswith("_FILE")
                value = str(self._at(each["value"])) if is_file else each["value"]
                found.append((each["name"], value))
                continue
            wanted = each["valueFrom"]["secretKeyRef"]
            assert wanted["optional"]
            if wanted["key"] in self._secret:
                found.append((each["name"], self._secret[wanted["key"]]))
        return found

    def _at(self, path: str) -> Path:
        return self._folder / path.lstrip("/")


def guarded(folder: Path, **secret: str) -> Node:
    return Node(folder, rendered("api-keys"), {k.replace("_", "."): v for k, v in secret.items()})


@pytest.mark.parametrize("name", ["local-cpu", "multi-replica", "single-gpu"])
def test_without_the_component_the_network_says_who_may_call(name: str, tmp_path: Path) -> None:
    (text,) = (
        m["data"]["serving.yaml"]
        for m in of_kind(rendered(name), "ConfigMap")
        if "serving.yaml" in m["data"]
    )
    (tmp_path / "serving.yaml").write_text(text, encoding="utf-8")
    settings = load_settings({}, config=tmp_path / "serving.yaml", environment={})
    assert not is_loopback(settings.host)
    assert settings.trust_network
    assert not settings.keys
    (tmp_path / "serving.yaml").write_text(text.replace("trust_network: true", ""))
    with pytest.raises(SettingsInvalid, match="others reach"):
        load_settings({}, config=tmp_path / "serving.yaml", environment={})


def test_every_overlay_with_a_server_is_looked_at() -> None:
    servers = {n for n in OVERLAYS for d in of_kind(rendered(n), "Deployment")
               if d["metadata"]["name"] == "dragoman"}  # fmt: skip
    assert servers == {"local-cpu", "multi-replica", "single-gpu"}


def test_the_component_lets_in_keys_alone_and_leaves_metrics_to_the_scrapers(
    tmp_path: Path,
) -> None:
    settings = guarded(tmp_path, keys_yaml=keys("shop", "web")).settings()
    assert [key.name for key in settings.keys] == ["shop", "web"]
    assert not settings.trust_network
    assert settings.metrics_open


def test_the_lines_that_the_command_prints_are_a_list_of_keys(tmp_path: Path) -> None:
    settings = guarded(tmp_path, keys_yaml="keys:\n" + keys("shop")).settings()
    assert [key.name for key in settings.keys] == ["shop"]


@pytest.mark.parametrize("text", ["", "[]\n", "keys: []\n", "- name: shop\n"])
def test_a_secret_without_a_good_list_of_keys_starts_no_server(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid):
        guarded(tmp_path, keys_yaml=text).settings()


def test_what_the_kubelet_writes_anew_is_in_force_after_a_reload(tmp_path: Path) -> None:
    pod = guarded(tmp_path, keys_yaml=keys("shop"))
    before = pod.settings()
    pod.write({"keys.yaml": keys("shop", "shop-2")})
    after = before.with_reloaded(pod.settings())
    assert [key.name for key in after.keys] == ["shop", "shop-2"]
    pod.write({"keys.yaml": "[]"})
    with pytest.raises(SettingsInvalid, match="no key is needed"):
        pod.settings()


def test_usage_is_in_the_secret_s_database_or_else_where_a_pod_may_write(tmp_path: Path) -> None:
    shared = guarded(tmp_path / "a", keys_yaml=keys("shop"), usage=POSTGRES).settings()
    assert shared.usage == POSTGRES
    alone = guarded(tmp_path / "b", keys_yaml=keys("shop")).settings()
    assert writable(rendered("api-keys"), alone.usage)
    assert not writable(rendered("api-keys"), "/models/usage.sqlite")


def writable(manifests: list[Manifest], file: str) -> bool:
    """Return whether the server may write a file there: its image's own system is read-only."""
    template = next(t for n, t in pods(manifests) if n == "Deployment/dragoman")
    (mounts,) = (c["volumeMounts"] for c in containers(template) if c["name"] == "server")
    return any(Path(file).is_relative_to(m["mountPath"]) and not m.get("readOnly") for m in mounts)


def test_no_password_is_mounted_as_a_file_and_the_rest_is_for_the_group_alone() -> None:
    template = next(t for n, t in pods(rendered("api-keys")) if n == "Deployment/dragoman")
    (secret,) = (v["secret"] for v in template["spec"]["volumes"] if "secret" in v)
    assert [item["key"] for item in secret["items"]] == ["keys.yaml"]
    assert secret["defaultMode"] == 0o440
    assert template["spec"]["securityContext"]["fsGroup"]
    assert not secret.get("optional")


def test_policies_let_servers_out_to_a_database_of_usage() -> None:
    (policy,) = (
        p["spec"]
        for p in of_kind(rendered("api-keys"), "NetworkPolicy")
        if p["metadata"]["name"] == "dragoman-serving"
    )
    (rule,) = (r for r in policy["egress"] if r["ports"] == [{"port": 5432, "protocol": "TCP"}])
    labels = {"dragoman.dev/usage-store": "true"}
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": labels}}]
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert "dragoman.dev/usage-store=true" in page


def test_the_page_s_patch_of_the_monitor_is_one_that_the_operator_knows() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"```yaml\n(- op: add\n.*?)```", page, re.DOTALL)
    (patch,) = yaml.safe_load(found)
    *way, last = patch["path"].strip("/").split("/")
    (monitor,) = of_kind(rendered("api-keys"), "PodMonitor")
    place: Any = monitor
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    assert place["port"] == "http"
    place[last] = patch["value"]
    assert list(faults(monitor)) == []


def test_compose_s_server_starts_and_can_write_what_keys_used() -> None:
    body = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    server = yaml.safe_load(body)["services"]["server"]
    name, *arguments = server["command"]
    command: Any = typer.main.get_command(dragoman.build_app())
    given = command.commands[name].make_context(name, arguments).params
    flags = {field: given[field] for field in ServingSettings.model_fields if field in given}
    settings = load_settings(flags, environment=server["environment"])
    assert not is_loopback(settings.host)
    folders = [place.partition(":")[0] for place in server["tmpfs"]]
    assert str(Path(settings.usage).parent) in folders
    with pytest.raises(SettingsInvalid, match="others reach"):
        load_settings({**flags, "trust_network": None}, environment={})

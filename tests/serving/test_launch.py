from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from adapters.errors import BaseModelNotFound, SettingsInvalid
from serving import launch as module
from serving.door.key import hash_of
from serving.launch import PLUGINS, Launch, find_base, plan
from serving.settings import HANDOVER, ServingSettings, handed_over


def settings(**changes: object) -> ServingSettings:
    return ServingSettings.model_validate({"base": "tiny", "registry": "/r", **changes})


def planned(
    base: Path, *flags: str, environment: dict[str, str] | None = None, **changes: object
) -> Launch:
    return plan(settings(**changes), base, flags, environment=environment or {})


def value_of(command: tuple[str, ...], flag: str) -> str:
    """Return what argparse would take: the last one."""
    index = len(command) - 1 - command[::-1].index(flag)
    return command[index + 1]


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_cpu_build", lambda: True)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_cpu_build", lambda: False)


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Path("/lib/libtcmalloc_minimal.so.4"), Path("/lib/libiomp5.so")]
    monkeypatch.setattr("adapters.preload.preload_libraries", lambda: found)


@pytest.mark.usefixtures("cpu")
def test_the_plan_carries_every_setting_to_vllm_or_to_the_plugins(base: Path) -> None:
    launch = planned(base, port=81, max_loras=3, max_lora_rank=16, max_model_len=99)
    assert value_of(launch.command, "--port") == "81"
    assert value_of(launch.command, "--max-loras") == "3"
    assert value_of(launch.command, "--max-lora-rank") == "16"
    assert value_of(launch.command, "--max-model-len") == "99"
    assert value_of(launch.command, "--middleware") == "serving.gate.Gate"
    assert "--disable-uvicorn-access-log" in launch.command
    assert value_of(launch.command, "--scheduler-cls") == "serving.scheduler.FairScheduler"
    assert handed_over({HANDOVER: launch.environment[HANDOVER]}) == settings(
        port=81, max_loras=3, max_lora_rank=16, max_model_len=99
    )


@pytest.mark.usefixtures("cpu")
def test_flags_after_the_dashes_come_last_so_that_vllm_takes_them(base: Path) -> None:
    launch = planned(base, "--max-loras", "9", "--port=9000", "--host", "127.0.0.9")
    assert value_of(launch.command, "--max-loras") == "9"
    assert launch.command[-5:] == ("--max-loras", "9", "--port=9000", "--host", "127.0.0.9")
    assert launch.url == "http://127.0.0.9:9000"


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize(("flags", "url"), [
    ((), "http://127.0.0.1:8000"),
    (("--port", "1", "--port", "2"), "http://127.0.0.1:2"),
    (("--host", "0.0.0.0"), "http://127.0.0.1:8000"),  # noqa: S104
    (("--host", "::"), "http://[::1]:8000"),
    (("--host=fe80::1",), "http://[fe80::1]:8000"),
    (("--host", "box"), "http://box:8000"),
    (("--ssl_certfile", "c.pem"), "https://127.0.0.1:8000"),
    (("--port",), "http://127.0.0.1:8000"),
])  # fmt: skip
def test_the_server_is_looked_for_where_vllm_listens(
    base: Path, flags: tuple[str, ...], url: str
) -> None:
    assert planned(base, *flags, trust_network=True).url == url


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("flags", [
    ("--host", "0.0.0.0"), ("--host=::",), ("--host=",), ("--hos", "box"),  # noqa: S104
    ("--host", "127.0.0.1", "--host", "10.0.0.3"),
])  # fmt: skip
def test_a_flag_that_opens_the_server_to_others_needs_keys_too(
    base: Path, flags: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsInvalid, match=r"--host: others reach .*dragoman keys new"):
        planned(base, *flags)
    key = {"name": "a", "hash": hash_of("secret")}
    assert planned(base, *flags, keys=[key]).command[-len(flags) :] == flags


@pytest.mark.usefixtures("cpu")
def test_a_flag_that_closes_the_server_needs_none(base: Path) -> None:
    assert planned(base, "--host", "::1", host="0.0.0.0").url == "http://[::1]:8000"  # noqa: S104


@pytest.mark.usefixtures("cpu")
def test_the_environment_of_a_server_has_no_key_and_no_url_of_usage(base: Path) -> None:
    key = {"name": "shop", "hash": hash_of("secret")}
    launch = planned(base, keys=[key], usage="postgresql://u:sesame@h/d")
    said = launch.as_shell()
    assert "sesame" not in said
    assert key["hash"] not in said


@pytest.mark.usefixtures("cpu")
def test_memory_has_room_for_at_least_the_adapters_of_one_batch(base: Path) -> None:
    command = planned(base, max_loras=8, max_cpu_loras=2).command
    assert value_of(command, "--max-cpu-loras") == "8"


@pytest.mark.usefixtures("cpu", "libraries")
def test_a_cpu_build_computes_on_every_core_with_both_libraries(base: Path) -> None:
    environment = planned(base).environment
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == cores
    assert environment["LD_PRELOAD"] == "/lib/libtcmalloc_minimal.so.4:/lib/libiomp5.so"


@pytest.mark.usefixtures("cpu", "libraries")
def test_libraries_that_the_user_preloads_are_kept_and_none_is_named_twice(base: Path) -> None:
    before = {"LD_PRELOAD": "/mine.so:/opt/libiomp5.so"}
    after = planned(base, environment=before).environment["LD_PRELOAD"]
    assert after == "/mine.so:/opt/libiomp5.so:/lib/libtcmalloc_minimal.so.4"


@pytest.mark.usefixtures("gpu", "libraries")
def test_a_gpu_build_gets_none_of_the_cpus_tuning(base: Path) -> None:
    names = planned(base).environment
    assert not [n for n in names if "CPU" in n or "DNN" in n or n == "LD_PRELOAD"]


@pytest.mark.usefixtures("cpu")
def test_variables_that_the_user_set_are_left_to_the_user(base: Path) -> None:
    before = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "0",
        "VLLM_NO_USAGE_STATS": "0",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1024",
    }
    assert not planned(base, environment=before).environment.keys() & before.keys()


@pytest.mark.usefixtures("cpu")
def test_products_that_the_engine_keeps_are_bounded(base: Path) -> None:
    assert planned(base).environment["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "512"


@pytest.mark.usefixtures("cpu")
def test_plugins_that_the_user_named_stay_beside_ours(base: Path) -> None:
    named = planned(base, environment={"VLLM_PLUGINS": "mine, dragoman"}).environment
    assert named["VLLM_PLUGINS"].split(",") == [*PLUGINS, "mine"]
    assert planned(base).environment["VLLM_PLUGINS"].split(",") == [*PLUGINS]


@pytest.mark.usefixtures("cpu")
def test_a_base_in_a_local_folder_needs_no_hub(base: Path, tmp_path: Path) -> None:
    assert planned(base).environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in planned(tmp_path / "org" / "name").environment


@pytest.mark.usefixtures("cpu")
def test_the_shell_line_is_the_command_with_its_variables(base: Path) -> None:
    launch = planned(base)
    words = shlex.split(launch.as_shell())
    variables = [f"{name}={value}" for name, value in launch.environment.items()]
    assert words == ["env", *variables, *launch.command]


def test_a_base_is_found_by_folder_or_by_name(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path))
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "known").symlink_to(base)
    assert find_base(str(base)) == base
    assert find_base("known") == tmp_path / "bases" / "known"
    with pytest.raises(BaseModelNotFound, match="dragoman base fetch none"):
        find_base("none")


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("given", [".", "../tiny", "../tiny/"])
def test_a_model_is_served_under_its_folders_name_however_the_folder_was_given(
    base: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base)
    found = find_base(given)
    assert value_of(plan(settings(base=given), found).command, "--served-model-name") == "tiny"


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize(("flags", "module_name"), [
    ((), "vllm.entrypoints.launchers.api_server.entry"),
    (("--api-server-count", "1"), "vllm.entrypoints.launchers.api_server.entry"),
    (("--api-server-count", "2"), "serving.api_servers"),
    (("--api_server_count=3",), "serving.api_servers"),
    (("-asc", "2"), "serving.api_servers"),
    # Not a number: vLLM's parser says so.
    (("--api-server-count", "many"), "vllm.entrypoints.launchers.api_server.entry"),
])  # fmt: skip
def test_several_api_processes_are_started_by_the_module_that_can(
    base: Path, flags: tuple[str, ...], module_name: str
) -> None:
    assert value_of(planned(base, *flags).command, "-m") == module_name

"""What serving/ relies on in vLLM, held against the vLLM that is installed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from prometheus_client import REGISTRY, Gauge

from adapters.errors import FileMissing
from serving import vllm_compat
from serving.engine_guard import check_folder
from serving.settings import HANDOVER
from serving.stats import SaturationLogger, saturation
from serving.worker import WorkerExtension
from tests import fakes
from tests.contract.shapes import assigned, parameters

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(vllm_compat.SOURCES))
def test_every_name_is_where_we_look_for_it(name: str) -> None:
    assert inspect.isclass(getattr(vllm_compat, name))


def test_a_name_that_we_do_not_use_is_not_offered() -> None:
    with pytest.raises(AttributeError, match="LLMEngine"):
        _ = vllm_compat.LLMEngine


def test_the_command_line_does_not_import_vllm() -> None:
    modules = "serving.cli, serving.launch, serving.supervisor, serving.resolver, serving.gate"
    code = f"import sys, {modules}; sys.exit('vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return vLLM's WorkerLoRAManager; its method is put back afterwards."""
    from vllm.lora.worker_manager import WorkerLoRAManager

    monkeypatch.setattr(WorkerLoRAManager, "_load_adapter", WorkerLoRAManager._load_adapter)
    return WorkerLoRAManager


def test_adapters_are_still_read_where_the_guard_stands(unguarded: Any) -> None:
    from vllm.lora import worker_manager

    assert parameters(unguarded._load_adapter) == ["self", "lora_request"]
    lru = worker_manager.LRUCacheWorkerLoRAManager
    assert "_load_adapter" not in vars(lru)
    for cls in (unguarded, lru):
        assert "self._load_adapter(" in inspect.getsource(cls.add_adapter)
    source = inspect.getsource(worker_manager)
    assert source.count(".from_local_checkpoint(") == 1


def load(manager: Any, path: str) -> Any:
    request = vllm_compat.lora_request("a", lora_int_id=1, folder=Path(path))
    return manager._load_adapter(SimpleNamespace(), request)


def test_the_guard_looks_first_and_then_lets_vllm_load(
    unguarded: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def vllms(_: Any, lora_request: Any) -> str:
        return f"loaded {lora_request.lora_path}"

    monkeypatch.setattr(unguarded, "_load_adapter", vllms)
    vllm_compat.guard_adapter_loading(check_folder)
    whole = fakes.write_lora(tmp_path / "whole")
    assert load(unguarded, str(whole)) == f"loaded {whole}"
    pickled = fakes.write_lora(tmp_path / "pickled")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    for path in (str(pickled), "org/name", str(tmp_path / "none")):
        with pytest.raises(FileMissing):
            load(unguarded, path)


def test_the_guard_is_applied_once(unguarded: Any) -> None:
    vllm_compat.guard_adapter_loading(check_folder)
    once = unguarded._load_adapter
    vllm_compat.guard_adapter_loading(check_folder)
    assert unguarded._load_adapter is once
    assert once.guarded_by_dragoman


def test_the_guard_is_inert_without_our_launcher(
    unguarded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.engine_guard import install

    before = unguarded._load_adapter
    monkeypatch.delenv(HANDOVER, raising=False)
    install()
    assert unguarded._load_adapter is before


def test_the_worker_and_its_runner_have_the_attributes_on_the_way_there() -> None:
    from vllm.v1.worker.cpu_worker import CPUWorker
    from vllm.v1.worker.lora_model_runner_mixin import LoRAModelRunnerMixin

    assert "model_runner" in assigned(CPUWorker)
    assert "self.lora_manager = " in inspect.getsource(LoRAModelRunnerMixin)
    # vLLM refuses an extension whose names clash with the worker's.
    ours = {name for name in vars(WorkerExtension) if not name.startswith("__")}
    assert ours
    assert not ours & {*dir(CPUWorker)}


def test_a_request_for_weights_is_what_vllm_takes() -> None:
    request = vllm_compat.lora_request("ui-en-fr@0123", lora_int_id=2**63 - 1, folder=Path("/r/a"))
    assert (request.lora_name, request.lora_int_id) == ("ui-en-fr@0123", 2**63 - 1)
    assert request.lora_path == "/r/a"
    assert request.load_inplace is False


def test_ranks_are_those_that_vllm_takes() -> None:
    from vllm.config.lora import MaxLoRARanks

    assert vllm_compat.supported_max_ranks() == get_args(MaxLoRARanks)


def test_the_cpu_build_is_known_by_vllms_own_rule() -> None:
    from vllm.platforms import current_platform

    assert vllm_compat.is_cpu_build() == current_platform.is_cpu()


def test_the_stat_logger_is_fed_as_vllm_feeds_its_own() -> None:
    base = vllm_compat.StatLoggerBase
    assert parameters(base.record)[:3] == ["self", "scheduler_stats", "iteration_stats"]
    assert parameters(base.__init__) == ["self", "vllm_config", "engine_index"]
    assert not inspect.isabstract(SaturationLogger)


def test_the_gauge_that_keeps_every_mix_of_adapters_can_be_emptied() -> None:
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    name = "vllm:lora_requests_info"
    assert f'name="{name}"' in inspect.getsource(PrometheusStatLogger.__init__)
    vllm_compat.forget_lora_mixes()  # before there is one
    gauge = Gauge(name, "as vLLM's", ["running_lora_adapters"])
    try:
        for mix in ("", "a", "a,b"):
            vllm_compat.forget_lora_mixes()
            gauge.labels(mix).set_to_current_time()
        (family,) = gauge.collect()
        assert [sample.labels["running_lora_adapters"] for sample in family.samples] == ["a,b"]
    finally:
        REGISTRY.unregister(gauge)


@pytest.mark.parametrize(("fields", "expected"), [
    ({}, 0.0),
    ({"num_running_reqs": 4}, 0.5),
    ({"num_running_reqs": 8, "num_waiting_reqs": 3, "num_skipped_waiting_reqs": 1}, 1.5),
    ({"num_running_reqs": 1, "kv_cache_usage": 0.75}, 0.75),
])  # fmt: skip
def test_saturation_is_demand_over_slots_or_the_cache_whichever_is_more(
    fields: dict[str, Any], expected: float
) -> None:
    from vllm.v1.metrics.stats import SchedulerStats

    assert saturation(SchedulerStats(**fields), seats=8) == expected

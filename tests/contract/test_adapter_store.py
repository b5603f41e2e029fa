"""The worker's store of adapters, on vLLM's own caches: only the engine around them is missing."""

from __future__ import annotations

import inspect
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from adapters.version_folder import identity
from serving import adapter_store, vllm_compat
from serving.adapter_store import AdapterStore, Wanted
from serving.leases import Leases
from tests import fakes
from tests.contract.shapes import assigned, parameters

SLOTS, CAPACITY = 2, 4


class Lora(SimpleNamespace):
    id: int


class Store(AdapterStore):
    """Reads nothing: what it `reads` is named by number; `gate` keeps the reader waiting."""

    def __init__(self) -> None:
        from vllm.lora import model_manager

        self.gate = threading.Event()
        self.gate.set()
        self.broken: set[int] = set()
        manager = object.__new__(model_manager.LRUCacheLoRAModelManager)
        manager.lora_config = SimpleNamespace(max_loras=SLOTS, max_cpu_loras=CAPACITY)  # type: ignore[assignment]
        manager._registered_adapters = model_manager.AdapterLRUCache(
            CAPACITY, manager.deactivate_adapter
        )
        manager._active_adapters = model_manager.AdapterLRUCache(SLOTS, manager._deactivate_adapter)
        manager.lora_index_to_id = [None] * SLOTS
        manager.modules = {}
        manager.packed_modules = {}
        manager._enable_mixed_moe_lora_format = False
        manager._last_mapping = manager._last_slot_layout = None
        self._adapter_manager = manager
        self._prepare()

    def _load_adapter(self, lora_request: Any) -> Any:
        self.gate.wait(5)
        if lora_request.lora_int_id in self.broken:
            raise FileNotFoundError("gone")
        weights = SimpleNamespace(optimize=lambda: None, lora_a=torch.zeros(1), lora_b=None)
        return Lora(id=lora_request.lora_int_id, loras={"m": weights})

    def _read(self, wanted: Wanted) -> Any:
        return self._load_adapter(request(wanted.number))

    def wait(self) -> None:
        for _, future in self._arriving.values():
            future.exception(timeout=5)

    def take(self, *numbers: int, client: str = "a") -> None:
        """Load versions, each leased by `client`."""
        for number in numbers:
            assert self.load(client, wanted(number))[0] == "started"
            self.wait()
            assert self.load(client, wanted(number)) == ("ready", "")

    def step(self, *numbers: int) -> None:
        self._apply_adapters({request(number) for number in numbers})

    def let_go(self, *leased: int, client: str = "a", pinned: tuple[int, ...] = ()) -> Any:
        return self.report(client, leased, pinned, ())

    @property
    def cached(self) -> set[int]:
        return {*self._cached}

    @property
    def slots(self) -> set[int | None]:
        return {*self._adapter_manager.lora_index_to_id} - {None}


def wanted(number: int, **changes: Any) -> Wanted:
    facts = {"name": f"v{number}", "folder": "/r", "identity": "", "labels": ("id", str(number))}
    return Wanted(number, **{**facts, **changes})


def request(number: int) -> Any:
    return vllm_compat.lora_request(f"v{number}", lora_int_id=number, folder=Path("/r"))


@pytest.fixture
def store() -> Store:
    return Store()


def test_a_load_fills_the_cache_and_takes_no_slot(store: Store) -> None:
    store.gate.clear()
    assert store.load("a", wanted(7)) == ("started", "")
    assert store.load("b", wanted(7)) == ("loading", "")
    store.step()
    assert store.cached == set()
    store.gate.set()
    store.wait()
    store.step()
    assert (store.cached, store.slots) == ({7}, set())
    assert store.load("a", wanted(7)) == ("ready", "")
    store.step(7)
    assert store.slots == {7}


def test_a_step_goes_on_while_an_adapter_is_read(store: Store) -> None:
    store.take(1)
    store.gate.clear()
    store.load("a", wanted(2))
    before = time.perf_counter()
    store.step(1)
    assert time.perf_counter() - before < 0.05
    store.gate.set()


def test_a_failed_read_is_told_once_and_tried_again(store: Store) -> None:
    store.broken = {7}
    store.load("a", wanted(7))
    store.wait()
    store.step()
    state, why = store.load("a", wanted(7))
    assert (state, why) == ("failed", "FileNotFoundError: gone")
    store.broken = set()
    store.take(7)


def test_what_somebody_uses_is_never_evicted(store: Store) -> None:
    store.take(1, 2)
    store.take(3, 4, client="b")
    assert store.load("a", wanted(5)) == ("full", "")
    store.let_go(2)
    store.take(5)
    assert store.cached == {2, 3, 4, 5}
    assert not store.lease("a", 1)


def test_a_version_that_two_clients_use_stays_until_both_let_go(store: Store) -> None:
    store.take(1, 2, 3, 4)
    assert store.lease("b", 1)
    store.let_go(2, 3, 4)
    assert store.load("a", wanted(5)) == ("full", "")
    store.let_go(client="b")
    store.take(5)
    assert 1 not in store.cached


def test_what_runs_is_not_evicted_even_if_its_lease_was_lost(store: Store) -> None:
    store.take(1, 2, 3, 4)
    store.step(1)
    store.let_go()
    store.take(5)
    assert store.cached == {1, 3, 4, 5}


def test_the_least_recently_used_goes_first(store: Store) -> None:
    store.take(1, 2, 3, 4)
    store.step(1)
    store.step(3)
    store.let_go()
    assert store.lease("a", 2)
    store.let_go()
    store._running = ()
    store.take(5, 6)
    assert store.cached == {3, 2, 5, 6}


def test_room_is_kept_for_what_is_being_read(store: Store) -> None:
    store.gate.clear()
    for number in range(1, CAPACITY + 1):
        assert store.load("a", wanted(number))[0] == "started"
    assert store.load("a", wanted(9)) == ("full", "")
    store.gate.set()
    store.wait()
    store.step()
    assert len(store.cached) == CAPACITY


def test_a_prefetch_evicts_only_what_nobody_used_for_long(store: Store) -> None:
    store.take(1, 2, 3, 4)
    store.let_go()
    assert store.load("a", wanted(5, idle_s=60.0)) == ("full", "")
    store._used_at[3] -= 100.0
    assert store.load("a", wanted(5, idle_s=60.0)) == ("started", "")
    assert 3 not in store.cached


def test_an_adapter_of_the_same_step_never_loses_its_slot(store: Store) -> None:
    store.take(1, 2, 3)
    store.step(1, 2)
    layout = list(store._adapter_manager.lora_index_to_id)
    store.step(1)
    store.step(1, 3)
    assert store.slots == {1, 3}
    assert store._adapter_manager.lora_index_to_id.index(1) == layout.index(1)


def test_a_pinned_adapter_gets_a_slot_and_keeps_it(store: Store) -> None:
    store.take(1, 2, 3)
    store.let_go(1, 2, 3, pinned=(1,))
    assert store.slots == {1}
    store.step(2)
    store.step(3)
    assert store.slots == {1, 3}
    store.let_go(2, 3)
    store.step(2)
    assert store.slots == {2, 3}


def test_a_step_that_needs_all_slots_gets_them_and_does_not_end_the_engine(store: Store) -> None:
    store.take(1, 2, 3)
    store.let_go(2, 3, pinned=(1,))
    store.step(2, 3)
    assert store.slots == {2, 3}
    assert 1 in store.cached
    store._stepped_at = float("-inf")
    store.let_go(pinned=(1,))
    assert 1 in store.slots


def test_too_many_adapters_in_one_step_are_an_error_as_in_vllm(store: Store) -> None:
    store.take(1, 2, 3)
    with pytest.raises(RuntimeError, match="3 adapters in one step, but 2 slots"):
        store.step(1, 2, 3)


def test_what_was_removed_is_freed_once_nobody_uses_it(store: Store) -> None:
    store.take(1, 2)
    store.step(1)
    store._stepped_at = float("-inf")
    store.lease("b", 1)
    store.report("a", [2], [], [1])
    assert store.cached == {1, 2}
    store.report("b", [], [], [])
    store.report("a", [2], [], [1])
    assert (store.cached, store.slots) == ({2}, set())
    assert set(store._wanted) == set(store._used_at) == {2}


def test_each_event_is_told_to_one_client_only(store: Store) -> None:
    store.take(1, 2, 3)
    store.step(1, 2)
    store.step(3)
    report = store.let_go()
    assert report["events"] == [["evict", "engine", "id", "1"]] or report["events"] == [
        ["evict", "engine", "id", "2"]
    ]
    assert report["versions"][-1][0] == 3 or report["versions"]
    assert {(row[0], row[4]) for row in report["versions"]} >= {(3, "engine")}
    assert (report["capacity"], store.let_go(client="b")["events"]) == (CAPACITY, [])


def test_adapters_of_vllms_own_flags_are_loaded_as_ever_and_stay(store: Store) -> None:
    assert store.add_adapter(request(90))
    assert store.slots == {90}
    store.take(1, 2, 3)
    store.let_go()
    store.take(4, 5)
    assert 90 in store.cached
    assert all(row[0] != 90 for row in store.let_go()["versions"])


def test_clients_that_fall_silent_hold_nothing_for_ever() -> None:
    now = [0.0]
    leases = Leases(clock=lambda: now[0])
    leases.grant("a", 1)
    now[0] = 50
    leases.replace("b", [2])
    assert leases.held() == {1, 2}
    now[0] = 100
    assert leases.held() == {2}


def test_a_folder_that_changed_while_it_was_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fakes.write_lora(tmp_path / "a")
    store = Store()
    monkeypatch.setattr(adapter_store, "AdapterReader", lambda _: None)
    time.sleep(0.06)
    look = identity(folder)
    sound = wanted(7, folder=str(folder), identity=look)
    assert AdapterStore._read(store, sound).id == 7
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="changed while it was read"):
        AdapterStore._read(store, sound)


def test_vllms_manager_still_calls_what_we_override() -> None:
    from vllm.lora import model_manager, worker_manager
    from vllm.v1.worker import lora_model_runner_mixin as mixin

    lru, base = worker_manager.LRUCacheWorkerLoRAManager, worker_manager.WorkerLoRAManager
    assert "LRUCacheWorkerLoRAManager(" in inspect.getsource(
        mixin.LoRAModelRunnerMixin.load_lora_model
    )
    assert "self._apply_adapters(" in inspect.getsource(base.set_active_adapters)
    assert parameters(lru._apply_adapters) == parameters(AdapterStore._apply_adapters)
    assert parameters(lru.add_adapter) == parameters(AdapterStore.add_adapter)
    assert "lora_model_cls" in parameters(base.__init__)
    assert "self._lora_model_cls.from_local_checkpoint(" in inspect.getsource(base._load_adapter)
    # What `_settle` leaves to the reader's thread, and what it does itself.
    source = inspect.getsource(model_manager.LoRAModelManager._add_adapter)
    for part in (
        "self._validate_moe_lora_format(lora)",
        "self._create_merged_loras_inplace(lora)",
        "self._registered_adapters[lora.id] = lora",
    ):
        assert part in source
    assert len([line for line in source.splitlines() if line.strip()]) == 4
    needed = {"_registered_adapters", "_active_adapters", "lora_index_to_id"}
    assert needed <= assigned(model_manager.LRUCacheLoRAModelManager)


def test_the_store_is_put_where_the_runner_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.v1.worker import lora_model_runner_mixin as mixin

    names = vars(mixin)
    monkeypatch.setitem(names, "LRUCacheWorkerLoRAManager", names["LRUCacheWorkerLoRAManager"])
    vllm_compat.put_adapter_store(AdapterStore)
    assert names["LRUCacheWorkerLoRAManager"] is AdapterStore


def test_the_store_is_found_on_vllms_worker() -> None:
    from vllm.v1.worker.lora_model_runner_mixin import LoRAModelRunnerMixin

    assert "self.lora_manager = " in inspect.getsource(LoRAModelRunnerMixin.load_lora_model)
    store = object()
    worker = SimpleNamespace(model_runner=SimpleNamespace(lora_manager=store))
    assert vllm_compat.adapter_store(worker) is store

"""Our LoRA on the CPU gives what vLLM's own gives, within bfloat16's tolerance."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from serving import markers, vllm_compat
from serving.cpu_kernel import load_library
from serving.cpu_lora import GroupedPunicaWrapper

SLOTS = 4
IDS: list[int | None] = [11, 12, None, 14]
# Rows of a batch by adapter: one stream, a prefill, a mixed decode with rows without adapter.
BATCHES = {
    "one row": (11,),
    "one adapter": (12,) * 21,
    "mixed": (11, 14, 0, 12, 14, 0, 11),
    "prefill": (14,) * 40 + (0,) * 9 + (11,) * 17,
    "no adapter": (0, 0, 0),
}
# Inputs, outputs of each slice: as q+k+v, o, gate+up; and no multiple of any vector's width.
MODULES = {"qkv": (64, (64, 16, 16)), "o": (96, (64,)), "up": (32, (300, 300)), "odd": (18, (21,))}


@pytest.fixture(params=["fastest", "portable", "torch"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each way of computing: two of the kernel's, and torch where there is no kernel."""
    library = load_library()
    if request.param != "torch" and library is None:
        pytest.skip("no native kernel: no C++ compiler when this was installed")
    if library is not None:
        library.dragoman_lora_portable(int(request.param == "portable"))
    yield request.param
    if library is not None:
        library.dragoman_lora_portable(0)


def test_the_kernel_was_built_where_there_is_a_compiler() -> None:
    assert load_library() is not None or shutil.which("g++") is None


def wrapper_of(cls: Any, batch: tuple[int, ...], way: str = "fastest") -> Any:
    wrapper = cls(512, 64, "cpu")
    if way == "torch":
        wrapper._library = None
    mapping = SimpleNamespace(index_mapping=batch, prompt_mapping=batch, is_prefill=True)
    wrapper.update_metadata(mapping, list(IDS), SLOTS + 1, 1000)
    return wrapper


def weights(rank: int, max_rank: int, module: str) -> tuple[tuple[torch.Tensor, ...], ...]:
    """Return A and B of each slice; the last slot has half the rank and leaves one slice alone."""
    inputs, outputs = MODULES[module]
    torch.manual_seed(rank)
    a = tuple(torch.zeros(SLOTS, 1, max_rank, inputs, dtype=torch.bfloat16) for _ in outputs)
    b = tuple(torch.zeros(SLOTS, 1, size, max_rank, dtype=torch.bfloat16) for size in outputs)
    for slot in range(SLOTS):
        own = rank if slot < SLOTS - 1 else max(1, rank // 2)
        for index in range(len(outputs) - (slot == SLOTS - 1 and len(outputs) > 1)):
            a[index][slot, 0, :own] = torch.randn(own, inputs) / inputs**0.5
            b[index][slot, 0, :, :own] = torch.randn(outputs[index], own) / own**0.5
    return a, b


def applied(wrapper: Any, x: torch.Tensor, y: torch.Tensor, a: Any, b: Any) -> torch.Tensor:
    result = y.clone()
    wrapper.add_lora_linear(result, x, a, b, 1.0, tuple(each.shape[2] for each in b))
    return result


def by_vllm(batch: tuple[int, ...], x: Any, y: Any, a: Any, b: Any) -> torch.Tensor:
    """What vLLM's own code gives, but for rows without adapter.

    To those vLLM 0.32 adds the adapter of the last slot: it takes their -1 for an index.
    """
    result = applied(wrapper_of(vllm_compat.PunicaWrapperCPU, batch), x, y, a, b)
    without = [row for row, lora in enumerate(batch) if lora == 0]
    result[without] = y[without]
    return result


def assert_close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Two roundings to bfloat16 (8 bits) apart at most: of A*x, and of the sum."""
    torch.testing.assert_close(found.float(), wanted.float(), rtol=2**-7, atol=2**-5)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("batch", BATCHES)
def test_every_batch_and_module_kind_equals_vllms(way: str, batch: str, module: str) -> None:
    a, b = weights(5, 16, module)
    rows = len(BATCHES[batch])
    x, y = torch.randn(rows, a[0].shape[3]).bfloat16(), torch.randn(rows, sum(MODULES[module][1]))
    theirs = by_vllm(BATCHES[batch], x, y.bfloat16(), a, b)
    ours = applied(wrapper_of(GroupedPunicaWrapper, BATCHES[batch], way), x, y.bfloat16(), a, b)
    assert_close(ours, theirs)
    untouched = [row for row, lora in enumerate(BATCHES[batch]) if lora == 0]
    assert torch.equal(ours[untouched], y.bfloat16()[untouched])


@pytest.mark.parametrize("max_rank", [1, 8, 32, 64, 128, 256, 320, 512])
def test_every_rank_equals_vllms(way: str, max_rank: int) -> None:
    a, b = weights(max_rank, max_rank, "qkv")
    batch = BATCHES["mixed"]
    x, y = torch.randn(len(batch), 64).bfloat16(), torch.zeros(len(batch), 96).bfloat16()
    theirs = by_vllm(batch, x, y, a, b)
    assert_close(applied(wrapper_of(GroupedPunicaWrapper, batch, way), x, y, a, b), theirs)


def test_a_large_prefill_is_shared_by_all_threads_and_equals_vllms(way: str) -> None:
    a, b = weights(64, 64, "up")
    batch = (11,) * 200 + (14,) * 190
    x, y = torch.randn(390, 32).bfloat16(), torch.zeros(390, 600).bfloat16()
    theirs = by_vllm(batch, x, y, a, b)
    assert_close(applied(wrapper_of(GroupedPunicaWrapper, batch, way), x, y, a, b), theirs)


def test_rows_of_a_wider_tensor_are_read_and_written_in_place(way: str) -> None:
    a, b = weights(8, 16, "o")
    batch = BATCHES["mixed"]
    wide_x, wide_y = torch.randn(7, 200).bfloat16(), torch.randn(7, 100).bfloat16()
    before, x, y = wide_y.clone(), wide_x[:, 50:146], wide_y[:, 10:74]
    wanted = by_vllm(batch, x, y.clone(), a, b)
    wrapper_of(GroupedPunicaWrapper, batch, way).add_lora_linear(y, x, a, b, 1.0, (64,))
    assert_close(y, wanted)
    assert torch.equal(wide_y[:, :10], before[:, :10])
    assert torch.equal(wide_y[:, 74:], before[:, 74:])


def test_embeddings_and_heads_equal_vllms_and_spare_rows_without_adapter() -> None:
    a, b = weights(8, 16, "o")
    batch = BATCHES["mixed"]
    ours = wrapper_of(GroupedPunicaWrapper, batch)
    theirs = wrapper_of(vllm_compat.PunicaWrapperCPU, batch)
    with_adapter = [row for row, lora in enumerate(batch) if lora]
    x, y = torch.randn(7, 96).bfloat16(), torch.randn(7, 64).bfloat16()
    for name, arguments in (
        ("add_lora_logits", (x, a[0], b[0], 1.0)),
        ("add_lora_embedding", (x[:, :16].float(), b[0])),
    ):
        found, wanted = y.clone(), y.clone()
        getattr(ours, name)(found, *arguments)
        getattr(theirs, name)(wanted, *arguments)
        assert_close(found[with_adapter], wanted[with_adapter])
        assert torch.equal(found[2], y[2])


def test_a_slot_that_gets_another_adapter_is_packed_anew(way: str) -> None:
    a, b = weights(8, 16, "o")
    batch = (11, 12)
    wrapper = wrapper_of(GroupedPunicaWrapper, batch, way)
    x, y = torch.randn(2, 96).bfloat16(), torch.zeros(2, 64).bfloat16()
    first = applied(wrapper, x, y, a, b)
    # Another adapter in slot 0, and new weights under the same id in slot 1.
    for slot in (0, 1):
        a[0][slot] = 0
        a[0][slot, 0, :3] = torch.randn(3, 96)
    mapping = SimpleNamespace(index_mapping=(13, 12), prompt_mapping=(13, 12), is_prefill=True)
    wrapper.update_metadata(mapping, [13, 12, None, 14], SLOTS + 1, 1000)
    again = applied(wrapper, x, y, a, b)
    assert_close(again, by_vllm(batch, x, y, a, b))
    assert not torch.allclose(again.float(), first.float(), atol=0.1)


def test_a_slot_is_read_up_to_the_rank_that_is_known() -> None:
    a, b = weights(8, 16, "o")
    batch, x, y = (11,), torch.randn(1, 96).bfloat16(), torch.zeros(1, 64).bfloat16()
    if load_library() is None:
        pytest.skip("no native kernel: no C++ compiler when this was installed")
    wanted = by_vllm(batch, x, y, a, b)
    for known, is_whole in ({0: 8}, True), ({0: 16}, True), ({1: 4}, True), ({0: 4}, False):
        wrapper = wrapper_of(GroupedPunicaWrapper, batch)
        wrapper.slot_ranks = known
        found = applied(wrapper, x, y, a, b)
        assert torch.allclose(found.float(), wanted.float(), rtol=2**-7, atol=2**-5) == is_whole


def test_other_precisions_are_left_to_torch() -> None:
    a, b = weights(8, 16, "o")
    a, b = (a[0].float(),), (b[0].float(),)
    batch = BATCHES["mixed"]
    x, y = torch.randn(7, 96), torch.zeros(7, 64)
    theirs = by_vllm(batch, x, y, a, b)
    found = applied(wrapper_of(GroupedPunicaWrapper, batch), x, y, a, b)
    torch.testing.assert_close(found, theirs)


def test_a_compiled_graph_reads_the_mapping_of_the_step_and_not_of_its_compilation() -> None:
    a, b = weights(8, 16, "o")
    wrapper = wrapper_of(GroupedPunicaWrapper, (11, 12))
    x, y = torch.randn(2, 96).bfloat16(), torch.zeros(2, 64).bfloat16()

    @torch.compile(fullgraph=True, backend="aot_eager", dynamic=True)
    def layer(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        output = y + 1
        wrapper.add_lora_linear(output, x, a, b, 1.0, (64,))
        return output

    for batch in ((11, 12), (14, 0), (0, 0)):
        mapping = SimpleNamespace(index_mapping=batch, prompt_mapping=batch, is_prefill=True)
        wrapper.update_metadata(mapping, list(IDS), SLOTS + 1, 1000)
        assert_close(layer(x, y), by_vllm(batch, x, y + 1, a, b))


def test_vllm_reads_of_the_wrapper_what_we_fill() -> None:
    """If this fails: vLLM's layers read another field; fill it in `_note_indices`, too."""
    ours = wrapper_of(GroupedPunicaWrapper, BATCHES["mixed"])
    theirs = wrapper_of(vllm_compat.PunicaWrapperCPU, BATCHES["mixed"])
    assert torch.equal(ours.token_lora_indices, theirs.token_lora_indices)
    assert torch.equal(ours.sampler_indices, theirs.sampler_indices)
    assert torch.equal(ours._embeddings_indices[:7], theirs._embeddings_indices[:7])
    assert ours.no_lora == theirs.no_lora
    assert wrapper_of(GroupedPunicaWrapper, (0, 0)).no_lora


def test_the_seam_takes_the_arguments_that_we_override() -> None:
    """If this fails: vLLM changed its wrapper; bring serving/cpu_lora.py to the new signature."""
    from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA

    base = vllm_compat.PunicaWrapperCPU
    for name in ("update_metadata", "add_lora_linear"):
        theirs = list(inspect.signature(getattr(base, name)).parameters)
        ours = list(inspect.signature(getattr(GroupedPunicaWrapper, name)).parameters)
        assert ours[:-1] == theirs[:-1]
    # We leave `scale` alone: it is merged into B, and layers pass 1.
    layer = inspect.getsource(BaseLinearLayerWithLoRA._apply_lora_to_output)
    assert "self.lora_b_stacked, 1.0, self.output_slices" in layer
    assert hasattr(torch.ops.dragoman, "add_lora")
    assert markers.present() >= {"cpu_lora"}


def test_the_platform_asks_for_the_class_that_applies_lora() -> None:
    """If this fails: find what replaced it, and override that in serving/platform.py."""
    platform = vllm_compat.cpu_platform()
    assert platform.get_punica_wrapper().endswith(".PunicaWrapperCPU")
    source = inspect.getsource(platform.check_and_update_config)
    ban = "if vllm_config.lora_config is not None:\n            compilation_config.mode"
    # Hiding LoRA from this method lifts this ban, and must lift nothing else.
    assert source.count("lora_config") == source.count(ban) == 1


def test_vllm_still_forgets_its_compiled_model_on_a_cpu() -> None:
    """If this fails: upstream mended it; delete let_compiled_models_load."""
    from vllm.compilation import decorators

    source = inspect.getsource(decorators)
    assert "torch.compiler.load_compiled_function(" in source
    assert "loaded_fn._artifacts.compiled_fn.finalize_loading(" in source

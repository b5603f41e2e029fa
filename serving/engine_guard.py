"""General plugin, run in each of vLLM's processes: what the engine may load, and how it keeps it.

The registry's own check runs before a version is used. This one stands where the weights are read,
so that adapters given by vLLM's own flags are held to the rules, too.
"""

from __future__ import annotations

from pathlib import Path

from adapters.errors import FileMissing
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from adapters.verify import read_peft_config
from serving import markers
from serving.settings import handed_over
from serving.vllm_compat import (
    answer_in_engine_core,
    guard_adapter_loading,
    is_cpu_build,
    let_compiled_models_load,
    put_adapter_store,
)


def install() -> None:
    """Guard the loading and keeping of adapters; does nothing in a vLLM that is not ours."""
    if handed_over() is None:
        return
    from serving.adapter_store import AdapterStore

    put_adapter_store(AdapterStore)
    guard_adapter_loading(check_folder)
    answer_in_engine_core(lambda: sorted(markers.present()))
    if is_cpu_build():
        let_compiled_models_load()
    markers.set_marker("engine_guard")


def check_folder(folder: Path) -> None:
    """Raise AdapterRejected unless `folder` is a local, plain LoRA in safetensors."""
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise FileMissing(
                f"{folder / name}: no such file; adapters are local folders with {CONFIG_FILE} "
                f"and {WEIGHTS_FILE}"
            )
    read_peft_config(folder)

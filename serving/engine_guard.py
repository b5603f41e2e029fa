"""General plugin, run in each of vLLM's processes: what the engine may load.

The registry's own check runs before a version is used. This one stands where the weights are read,
so that adapters given by vLLM's own flags, or evicted and read again, are held to the rules too.
"""

from __future__ import annotations

from pathlib import Path

from adapters.errors import FileMissing
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from adapters.verify import read_peft_config
from serving import markers
from serving.settings import handed_over
from serving.vllm_compat import guard_adapter_loading


def install() -> None:
    """Guard the loading of adapters; does nothing in a vLLM that is not ours."""
    if handed_over() is None:
        return
    guard_adapter_loading(check_folder)
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

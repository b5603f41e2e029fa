"""Settings to the exact command and environment of one vLLM server process."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.preload import preload_libraries
from serving.settings import HANDOVER, ServingSettings
from serving.vllm_compat import server_command

# As in pyproject.toml's entry points. Naming any filters all groups, so every one is named.
PLUGINS: Final = ("dragoman", "dragoman_api", "dragoman_stats")
_KV_CACHE_GIB: Final = "4"


@dataclass(frozen=True)
class Launch:
    """One process: its arguments, and the variables that it has beyond this process's own."""

    command: tuple[str, ...]
    environment: dict[str, str]

    def as_shell(self) -> str:
        """Return it as a line to paste into a shell."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join(["env", *variables, shlex.join(self.command)])


def plan(
    settings: ServingSettings,
    base: Path,
    vllm_flags: Sequence[str] = (),
    *,
    environment: Mapping[str, str] | None = None,
) -> Launch:
    """Return the launch of a server on the base model in folder `base`.

    vllm_flags come last, so that they win over ours; variables that are already set win, too.
    """
    environment = os.environ if environment is None else environment
    served_name = Path(settings.base).name
    flags = {
        "--model": str(base),
        "--served-model-name": served_name,
        "--host": settings.host,
        "--port": str(settings.port),
        "--max-loras": str(settings.max_loras),
        "--max-cpu-loras": str(max(settings.max_loras, settings.max_cpu_loras)),
        "--max-lora-rank": str(settings.max_lora_rank),
        "--max-model-len": str(settings.max_model_len),
        "--shutdown-timeout": str(settings.shutdown_timeout_s),
        "--middleware": "serving.gate.Gate",
        "--worker-extension-cls": "serving.worker.WorkerExtension",
    }
    command = [sys.executable, *server_command(), "--enable-lora"]
    command += [part for flag in flags.items() for part in flag]
    ours = {HANDOVER: settings.model_dump_json(), "VLLM_PLUGINS": ",".join(PLUGINS)}
    defaults = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    defaults |= _cpu_tuning()
    return Launch(
        command=(*command, *vllm_flags),
        environment={**{k: v for k, v in defaults.items() if k not in environment}, **ours},
    )


def _cpu_tuning() -> dict[str, str]:
    """Return what a small CPU machine needs; without it vLLM leaves a core idle (1.6x slower)."""
    if platform.system() != "Linux" or Path("/dev/nvidia0").exists():
        return {}
    cores = sorted(os.sched_getaffinity(0))
    tuning = {
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
        "VLLM_CPU_KVCACHE_SPACE": _KV_CACHE_GIB,
    }
    if libraries := preload_libraries():
        tuning["LD_PRELOAD"] = ":".join(map(str, libraries))
    return tuning

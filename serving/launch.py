"""Settings to the exact command and environment of one vLLM server process."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final

from adapters.errors import BaseModelNotFound, SettingsInvalid
from adapters.locations import bases_root
from adapters.preload import preload_env
from serving.door.log import log_flags
from serving.settings import HANDOVER, ServingSettings
from serving.settings_rules import open_address
from serving.vllm_compat import is_cpu_build, server_command

# As in pyproject.toml's entry points. Naming any filters all groups, so every one is named.
PLUGINS: Final = ("dragoman", "dragoman_api", "dragoman_cpu", "dragoman_stats")
_KV_CACHE_GIB: Final = "4"
# Our supervisor drains before it tells vLLM to end; this is for what did not finish in its time,
# to be told so. Not 0: then vLLM kills its API processes before they have told anybody.
_VLLM_SHUTDOWN_S: Final = 2
# Longer than clients keep an idle connection. vLLM closes it after 5 s, just when httpx would, and
# the openai client with it: of 6,700 requests one was sent on a connection that was being closed.
_KEEP_ALIVE_S: Final = 75
# oneDNN keeps a product for each number of rows and shape of weights, 1,024 if not told otherwise:
# 390 MB, which an hour of changing batches fills and which reads as a leak. Half of them are soon
# there, and the batches that recur are among them; another one costs half a millisecond.
_ONEDNN_PRODUCTS: Final = "512"


@dataclass(frozen=True)
class Launch:
    """One process: its arguments, its variables beyond this process's own, and where it answers."""

    command: tuple[str, ...]
    environment: dict[str, str]
    url: str

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

    vllm_flags come last, so that they win over ours; variables that are already set win, too, and
    LD_PRELOAD and VLLM_PLUGINS are added to. Raises SettingsInvalid if a flag opens the server to
    others, and nobody needs a key.
    """
    environment = os.environ if environment is None else environment
    if message := open_address(host_of(settings, vllm_flags), settings):
        raise SettingsInvalid(f"--host: {message}")
    flags = {
        "--model": str(base),
        "--served-model-name": base.name,
        "--host": settings.host,
        "--port": str(settings.port),
        "--max-loras": str(settings.max_loras),
        "--max-cpu-loras": str(max(settings.max_loras, settings.max_cpu_loras)),
        "--max-lora-rank": str(settings.max_lora_rank),
        "--max-model-len": str(settings.max_model_len),
        "--shutdown-timeout": str(_VLLM_SHUTDOWN_S),
        "--middleware": "serving.gate.Gate",
        "--worker-extension-cls": "serving.worker.WorkerExtension",
        "--scheduler-cls": "serving.scheduler.FairScheduler",
    }
    ours = {HANDOVER: settings.handover(), "VLLM_PLUGINS": _plugins(environment)}
    count = flag_of_vllm(vllm_flags, "--api-server-count", "-asc") or ""
    server = server_command(api_processes=int(count) if count.isdecimal() else 1)
    command = [sys.executable, *server, "--enable-lora"]
    command += [part for flag in flags.items() for part in flag]
    command += [*log_flags(settings), *vllm_flags]
    defaults = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(_KEEP_ALIVE_S),
    }
    if base.is_dir():
        defaults["HF_HUB_OFFLINE"] = "1"
    if is_cpu_build():
        defaults |= _cpu_tuning()
        ours |= preload_env(environment)
    return Launch(
        command=tuple(command),
        environment={**{k: v for k, v in defaults.items() if k not in environment}, **ours},
        url=url_of(settings, vllm_flags),
    )


def _plugins(environment: Mapping[str, str]) -> str:
    """Return ours and those that the user named: naming any hides all others from vLLM."""
    named = [name.strip() for name in environment.get("VLLM_PLUGINS", "").split(",")]
    return ",".join(dict.fromkeys([*PLUGINS, *filter(None, named)]))


def find_base(base: str) -> Path:
    """Return the folder of a base model by name or path. Raises BaseModelNotFound."""
    for folder in (Path(base).expanduser(), bases_root() / base):
        if (folder / "config.json").is_file():
            # Not resolve(): a link's own name is what the user calls the model.
            return Path(os.path.abspath(folder))  # noqa: PTH100
    raise BaseModelNotFound(
        f"base model {base!r} is not on this machine; `dragoman base fetch {base}` gets it, or "
        "give a folder with config.json, tokenizer.json and *.safetensors"
    )


def host_of(settings: ServingSettings, vllm_flags: Sequence[str] = ()) -> str:
    """Return the address that vLLM will listen on."""
    host = flag_of_vllm(vllm_flags, "--host")
    return settings.host if host is None else host


def url_of(settings: ServingSettings, vllm_flags: Sequence[str] = ()) -> str:
    """Return where the server will answer, by the same rule as vLLM: the last flag wins."""
    host = host_of(settings, vllm_flags)
    port = flag_of_vllm(vllm_flags, "--port") or str(settings.port)
    scheme = "https" if flag_of_vllm(vllm_flags, "--ssl-certfile") else "http"
    # An address that stands for all of the machine's is none to connect to.
    reached = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"{scheme}://{f'[{reached}]' if ':' in reached else reached}:{port}"


def flag_of_vllm(flags: Sequence[str], *names: str) -> str | None:
    """Return the value that vLLM takes for a flag with these names, None if it is not given."""
    found = None
    for flag, following in zip_longest(flags, flags[1:]):
        given, equals, value = flag.partition("=")
        if any(_is_flag(given.replace("_", "-"), name) for name in names):
            found = value if equals else following
    return found


def _is_flag(given: str, name: str) -> bool:
    """Return whether vLLM takes `given` for `name`: --ssl-certf and --ssl_certfile are one flag."""
    # Of a beginning that several flags share it says so, and ends; --h is --help.
    is_beginning = len(given) > len("--h") and given.startswith("--") and name.startswith(given)
    return given == name or is_beginning


def _cpu_tuning() -> dict[str, str]:
    """Return what a small CPU machine needs; without it vLLM leaves a core idle (1.6x slower)."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    binding = {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores))} if cores else {}
    return {
        **binding,
        "VLLM_CPU_KVCACHE_SPACE": _KV_CACHE_GIB,
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": _ONEDNN_PRODUCTS,
    }

"""What a Dockerfile builds, without a container engine: Debian roots of overlay layers.

Each command has a mount namespace of its own, so that nothing stays mounted, however it ends.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.deploy.dockerfile import Context, Copy, Dockerfile, Run, State
from tests.deploy.programs import debian_program

SUITE: Final = "bookworm"
# Debian leaves this folder to the administrator. A tmpfs lies on it while a command runs, so what
# is mounted below it leaves no folder behind in a layer.
_GUEST: Final = "/mnt"
# Which registry, and how it is reached; not what is installed from it, nor how.
_REACH: Final = re.compile(
    r"(?i:https?|all|no)_proxy|SSL_CERT_FILE"
    r"|PIP_((EXTRA_)?INDEX_URL|NO_INDEX|TRUSTED_HOST|(DEFAULT_)?TIMEOUT|RETRIES)"
    r"|UV_((DEFAULT_|EXTRA_)?INDEX(_URL)?|INSECURE_HOST|HTTP_TIMEOUT|NATIVE_TLS|SYSTEM_CERTS)"
)
_AUTHORITIES: Final = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_APT_REACH: Final = re.compile(r'Acquire::(https?|ftp|Retries|ForceIPv[46])\b.* "[^"]+";')
_DEBIAN: Final = re.compile(
    rf"^(Suites:|deb (\[[^]]*\] )?\S+)( {SUITE}(-updates|-security)?)+( main.*)?$", re.MULTILINE
)
# As in Debian's slim image.
_SLIM: Final = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_TIMEOUT_S: Final = 540


class StepFailed(Exception):
    """A command failed; the message has the end of what it printed."""


@dataclass(frozen=True)
class Machine:
    """This machine's way to the registries, for a root: variables, and folders mounted for them."""

    variables: Mapping[str, str]
    mounts: Mapping[str, Path]
    sources: tuple[Path, ...]

    @classmethod
    def here(cls, folder: Path) -> Machine:
        """Return that of this process; the folder takes what is copied."""
        folder.mkdir(parents=True)
        variables = {name: value for name, value in os.environ.items() if _REACH.fullmatch(name)}
        mounts = {f"{_GUEST}/machine": folder}
        mounts |= {name: Path(name) for name in ("/etc/resolv.conf", "/etc/hosts")}
        if authorities := variables.get("SSL_CERT_FILE"):
            shutil.copy(authorities, folder / "authorities.pem")
            variables |= dict.fromkeys(_AUTHORITIES, f"{_GUEST}/machine/authorities.pem")
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
        settings = [line for line in dump.stdout.splitlines() if _APT_REACH.fullmatch(line)]
        (folder / "apt.conf").write_text("\n".join([*settings, ""]), encoding="utf-8")
        variables["APT_CONFIG"] = f"{_GUEST}/machine/apt.conf"
        links = []
        for number, place in enumerate(os.environ.get("PIP_FIND_LINKS", "").split()):
            local = Path(place.removeprefix("file://"))
            inside = f"{_GUEST}/links-{number}"
            links.append(inside if local.is_dir() else place)
            mounts |= {inside: local} if local.is_dir() else {}
        if links:
            variables |= {"PIP_FIND_LINKS": " ".join(links), "UV_FIND_LINKS": ",".join(links)}
        return cls(variables, mounts, tuple(_debian_sources(folder)))


def _debian_sources(folder: Path) -> Iterator[Path]:
    """Yield apt's own sources of this Debian, without those of others; none on another system."""
    apt = Path("/etc/apt")
    found = [*apt.glob("sources.list"), *sorted(apt.glob("sources.list.d/*"))]
    for number, path in enumerate(found):
        text = path.read_text(encoding="utf-8")
        entries = re.split(r"\n\s*\n", text) if path.suffix == ".sources" else text.splitlines()
        kept = [entry for entry in entries if _DEBIAN.search(entry)]
        if kept:
            copy = folder / f"{number}{path.suffix}"
            copy.write_text("\n\n".join([*kept, ""]), encoding="utf-8")
            yield copy


@dataclass(frozen=True)
class Root:
    """A root file system: layers, the highest first, and folders shown from other roots."""

    layers: tuple[Path, ...]
    # Where mounted here, from which root, and its path there.
    shown: Mapping[str, tuple[Root, str]] = field(default_factory=dict)

    def run(self, command: Sequence[str], state: State) -> str:
        """Return what the command prints; the root is read-only but for /tmp. Raises StepFailed."""
        mounts = ["mount -t tmpfs -o mode=1777 tmpfs tmp"]
        return self._run(command, replace(state, arguments={"HOME": "/tmp"}), mounts, options="")

    def change(
        self, command: Sequence[str], state: State, *, machine: Machine, caches: Mapping[str, Path]
    ) -> str:
        """Return what the command prints; the highest layer takes what it writes."""
        mounts = [f"mkdir -p {shlex.quote(f'.{state.folder}')}"]
        for place, source in {**machine.mounts, **caches}.items():
            inside = shlex.quote(f".{place}")
            if source.is_dir():
                mounts.append(f"mkdir -p {inside}")
            access = "rw" if place in caches else "ro"
            mounts.append(f"mount --bind -o {access} {shlex.quote(str(source))} {inside}")
        work = self.layers[0].with_suffix(".work")
        work.mkdir(exist_ok=True)
        state = replace(state, arguments={"HOME": "/root", **machine.variables, **state.arguments})
        return self._run(
            command, state, mounts, options=f"upperdir={self.layers[0]},workdir={work}"
        )

    def _run(
        self, command: Sequence[str], state: State, mounts: Sequence[str], *, options: str
    ) -> str:
        at = self.layers[-1].with_suffix(".mounted")
        at.mkdir(exist_ok=True)
        variables = {**state.arguments, **state.environment}
        inside = [
            *("chroot", f"--userspec={state.user}", "--groups=", "."),
            *("env", "-i", f"--chdir={state.folder}"),
            *(f"{name}={value}" for name, value in variables.items()),
            *command,
        ]
        script = [
            # Mount points that are gone with the namespace.
            f"cd {shlex.quote(str(at))}; mount -t tmpfs tmpfs .; cd {shlex.quote(str(at))}",
            *self._overlays(options),
            "cd root",
            *_SYSTEM,
            *mounts,
            f"exec {shlex.join(inside)}",
        ]
        namespaces = ("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")
        done = subprocess.run(
            ["unshare", *namespaces, "/bin/sh", "-euc", "\n".join(script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise StepFailed(f"{shlex.join(command)}: {done.returncode}\n{done.stdout[-4000:]}")
        return done.stdout

    def _overlays(self, options: str) -> Iterator[str]:
        lower = self.layers[1:] if options else self.layers
        options = ",".join(filter(None, (f"lowerdir={':'.join(map(str, lower))}", options)))
        yield f"mkdir root; mount -t overlay -o {shlex.quote(options)} overlay root"
        for number, (place, (other, path)) in enumerate(self.shown.items()):
            lower = other.layers
            options = shlex.quote(f"lowerdir={':'.join(map(str, lower))}")
            yield f"mkdir {number}; mount -t overlay -o {options} overlay {number}"
            yield f"mount --bind {shlex.quote(f'{number}{path}')} {shlex.quote(f'root{place}')}"


_SYSTEM: Final = (
    "mount -t proc proc proc",
    "mount --bind -o ro /sys sys",
    f"mount -t tmpfs tmpfs .{_GUEST}",
    "mount -t tmpfs -o mode=755 tmpfs dev",
    *(f"touch dev/{name}; mount --bind /dev/{name} dev/{name}" for name in _DEVICES),
    "mkdir -m 1777 dev/shm; ln -s /proc/self/fd dev/fd",
)


class Builder:
    """Builds stages, each once; the cache outlives it, the layers do not."""

    def __init__(self, dockerfile: Dockerfile, context: Context, cache: Path) -> None:
        self._dockerfile = dockerfile
        self._cache = cache
        self._layers = cache / "layers"
        self.close()
        self._layers.mkdir(parents=True)
        self._machine = Machine.here(self._layers / "machine")
        self._context = self._layers / "context"
        for name in context.files():
            (self._context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(context.root / name, self._context / name)
        self._built: dict[str, Root] = {}

    def close(self) -> None:
        """Remove what was built."""
        if self._layers.exists():
            shutil.rmtree(self._layers)

    def build(self, name: str) -> Root:
        """Return the root of a stage, or of an image from outside. Raises StepFailed."""
        if name not in self._built:
            self._built[name] = self._build(name)
        return self._built[name]

    def _build(self, name: str) -> Root:
        stage = self._dockerfile.stages.get(name)
        if stage is None:
            return Root((self._debian(),))
        parent = self.build(stage.parent)
        layer = self._layers / name
        layer.mkdir()
        root = Root((layer, *parent.layers), parent.shown)
        for step in stage.steps:
            start = time.monotonic()
            root = self._run(root, step) if isinstance(step, Run) else self._copy(root, step)
            what = " ".join(step.script.split()) if isinstance(step, Run) else f"COPY {step.target}"
            print(f"{time.monotonic() - start:4.0f} s  {name}: {what[:70]}")
        return root

    def _debian(self) -> Path:
        """Return the root of a minimal Debian, made once."""
        base = self._cache / SUITE
        if base.exists():
            return base
        program = debian_program("mmdebstrap", "mmdebstrap")
        partial = base.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        options = [
            *("--mode=root", "--variant=minbase", "--format=directory", "--quiet"),
            f"--aptopt={self._layers / 'machine' / 'apt.conf'}",
            *(f"--dpkgopt={line}" for line in _SLIM),
            # Mount points, and what is this machine's alone.
            '--customize-hook=rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/resolv.conf',
            '--customize-hook=touch "$1"/etc/resolv.conf "$1"/etc/hosts',
        ]
        done = subprocess.run(
            [program, *options, SUITE, partial, *self._machine.sources],
            # It starts a second program of its package.
            env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise StepFailed(f"mmdebstrap: {done.stderr[-4000:]}")
        return partial.rename(base)

    def _run(self, root: Root, step: Run) -> Root:
        # Not of the Dockerfile: archives that apt keeps are not fetched anew by the next run.
        places = (*step.caches, "/var/cache/apt/archives")
        caches = {place: self._cache / "caches" / place.strip("/") for place in places}
        for folder in caches.values():
            folder.mkdir(parents=True, exist_ok=True)
        command = (*step.state.shell, step.script)
        root.change(command, step.state, machine=self._machine, caches=caches)
        return root

    def _copy(self, root: Root, step: Copy) -> Root:
        target = step.target
        if step.stage is not None:  # shown, not copied: it may be gigabytes
            self._change(root, f"mkdir -p {shlex.quote(target)}")
            (source,) = step.sources
            return replace(root, shown={**root.shown, target: (self.build(step.stage), source)})
        for name in step.sources:
            source = f"{_GUEST}/context/{name}"
            if (self._context / name).is_dir():
                source, target = f"{source}/.", f"{target}/"
            folder = target if target.endswith("/") else str(Path(target).parent)
            made = shlex.join(["mkdir", "-p", folder])
            self._change(root, f"{made}; {shlex.join(['cp', '-a', source, target])}")
        return root

    def _change(self, root: Root, script: str) -> None:
        machine = Machine({}, {f"{_GUEST}/context": self._context}, ())
        root.change(("/bin/sh", "-euc", script), State(), machine=machine, caches={})

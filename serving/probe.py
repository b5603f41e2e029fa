"""Whether a server answers, listens, or could: asked of its address."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx

from adapters.errors import StartRefused


class Probe:
    """Asks a server whether it is ready; one connection pool for all the questions."""

    def __init__(self, url: str) -> None:
        # Our own child on this machine: no proxy of the environment, and whatever certificate.
        self._client = httpx.Client(base_url=url, timeout=5, trust_env=False, verify=False)  # noqa: S501

    def is_ready(self) -> bool:
        """Return whether the server answers and takes requests."""
        try:
            return self._client.get("/ready").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def listens(url: str) -> bool:
    """Return whether a connection is not refused there; it asks nothing, so no log shows it."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def require_free_port(url: str) -> None:
    """Raise StartRefused if something else listens there."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port or 0
    except ValueError as error:
        raise StartRefused(f"{url}: {error}; expected --port between 1 and 65535") from error
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartRefused(
                f"cannot listen on {host}:{port} ({error.strerror}); stop what listens there, or "
                "choose another --port"
            ) from error

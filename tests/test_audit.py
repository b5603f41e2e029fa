"""`make audit`: what is locked has a bill of materials, and a known fault in it ends it with 1.

The service of faults is one of this test's: the real one is on the internet, and changes.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
FAULT = {
    "id": "GHSA-test", "summary": "planted", "modified": "2026-01-01T00:00:00Z",
    "affected": [{
        "package": {"name": "jinja2", "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
    }],
}  # fmt: skip


@contextmanager
def faults_of(packages: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a service in the manner of OSV, and what it was asked about."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["content-length"])))
            name = query["package"]["name"]
            asked.append(name)
            body = json.dumps({"vulns": [packages[name]]} if name in packages else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query", asked
        server.shutdown()


def audit(url: str, folder: Path) -> tuple[int, str, dict[str, Any]]:
    """Return exit code, what was said, and the bill."""
    done = subprocess.run(
        ["make", "audit", f"OSV_URL={url}", f"DIST={folder}"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    bill = json.loads((folder / "sbom.cdx.json").read_text(encoding="utf-8"))
    return done.returncode, done.stderr, bill


def test_the_bill_lists_all_that_is_locked(tmp_path: Path) -> None:
    with faults_of({}) as (url, asked):
        code, said, bill = audit(url, tmp_path)
    assert code == 0, said
    locked = (ROOT / "requirements" / "cpu.txt").read_text(encoding="utf-8").count("==")
    assert len(bill["components"]) == len(asked) >= locked > 200
    assert not bill.get("vulnerabilities")


def test_a_known_fault_is_told_and_ends_it_with_1(tmp_path: Path) -> None:
    with faults_of({"jinja2": FAULT}) as (url, _):
        code, said, bill = audit(url, tmp_path)
    assert code != 0
    assert "1 known vulnerability" in said
    (fault,) = bill["vulnerabilities"]
    assert fault["id"] == "GHSA-test"

"""What schemathesis makes of our OpenAPI schema: whatever it sends, the server has no fault.

For each route its coverage of the schema, every boundary and broken rule of each field once, and
drawn cases that fit the schema and that do not. The order and the cases are the same each time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from tests.integration.harness import ROOT, WORDS, RunningServer

pytestmark = pytest.mark.engine

_DRAWN: Final = 60
_AT_ONCE: Final = 8
_SHOWN: Final = 5
# Longest answer and longest list of prompts that a case may ask for: what is looked for is a
# request that breaks the server, not one that keeps it at work.
_MOST_TOKENS: Final = 3
_LENGTHS: Final = ("max_tokens", "max_completion_tokens")
# The smallest bodies that fit the schema are empty, and are refused before anything else of them is
# looked at: of four cases three get what a request needs, where they say nothing.
_LEFT_ALONE: Final = 4
_NEEDED: Final[dict[str, dict[str, Any]]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Open the file."}]},
    "/v1/completions": {"prompt": "Open the file."},
}
_NOT_EMPTY: Final = ("tools", "allowed_token_ids", "prompt_embeds", "chat_template")


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("schema") / "openapi.json"
    script = ROOT / "tests" / "integration" / "openapi.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, str(script), str(file)], cwd=ROOT, env=environment, check=True, timeout=120
    )
    return schemathesis.openapi.from_dict(json.loads(Path(file).read_text()))


def cases(schema: Any) -> Iterator[Any]:
    """Yield every case, as it is to be sent."""
    for found in schema.get_all_operations():
        operation = found.ok()
        covered = schema.iter_coverage_cases(
            operation,
            generation_modes=list(GenerationMode),
            generation_config=schema.config.generation,
        )
        drawn = (case for mode in GenerationMode for case in draw(operation, mode))
        for number, case in enumerate((*covered, *drawn)):
            yield tamed(case, filled=number % _LEFT_ALONE > 0)


def draw(operation: Any, mode: GenerationMode) -> list[Any]:
    """Return cases of one kind; none where there are none: a GET without parameters breaks none."""
    found: list[Any] = []

    @settings(
        max_examples=_DRAWN, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )  # fmt: skip
    @given(operation.as_strategy(generation_mode=mode))
    def keep(case: Any) -> None:
        found.append(case)

    try:
        keep()
    except Unsatisfiable:
        assert operation.method == "get"
    return found


def tamed(case: Any, *, filled: bool) -> Any:
    """Return a case that asks for a short answer; filled, of a model that there is, for a text."""
    if isinstance(case.body, dict):
        if filled:
            case.body["model"] = next(iter(WORDS))
            for name, value in _NEEDED[case.operation.path].items():
                case.body[name] = case.body.get(name) or value
            for name in _NOT_EMPTY:
                if not case.body.get(name):
                    case.body.pop(name, None)
        for name in _LENGTHS:
            value = case.body.get(name)
            if value is None or (type(value) is int and value > _MOST_TOKENS):
                case.body[name] = _MOST_TOKENS
    return case


def answered(case: Any, url: str, session: requests.Session) -> tuple[int, str]:
    """Return the status, 0 if the connection broke, and the beginning of what was said."""
    try:
        answer = case.call(base_url=url, session=session, timeout=60)
    except requests.RequestException as error:
        return 0, repr(error)
    return answer.status_code, answer.text[:300]


def test_nothing_that_the_schema_allows_or_forbids_is_the_servers_fault(
    server: RunningServer, schema: Any
) -> None:
    found: Counter[tuple[str, int]] = Counter()
    faults: list[str] = []
    with requests.Session() as session, ThreadPoolExecutor(_AT_ONCE) as threads:

        def ask(case: Any) -> None:
            status, said = answered(case, server.url, session)
            found[case.operation.label, status] += 1
            # Not even 503 `overloaded`, which is a right answer: so few at a time never are.
            if not 200 <= status < 500:
                faults.append(f"{case.method} {case.path} {case.body!r:.1500}: {status} {said}")

        list(threads.map(ask, cases(schema)))
    assert not faults, (len(faults), faults[:_SHOWN])
    print(sorted(found.items()))
    for path in ("chat/completions", "completions"):
        label = f"POST /v1/{path}"
        assert found[label, 200] > 100, found
        assert sum(n for (of, status), n in found.items() if of == label and status != 200) > 100
    assert server.ask("alpha-en-fr") == "alpha"

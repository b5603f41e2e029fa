"""Keys, limits and quotas, in the real engine and by real clients."""

from __future__ import annotations

import json
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from serving.door.key import hash_of
from tests.integration.harness import AS_COMPILED, RunningServer, start_server

pytestmark = pytest.mark.engine

ALPHA, BETA, BASE = "alpha-en-fr", "beta-en-fr", "gemma3-270m"
TEXT = "Open the file."
# Two requests of the text, and one character that is too few for a third.
TWO_TEXTS = 3 * len(TEXT) - 1


def key(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "hash": hash_of(f"secret-{name}"), **more}


KEYS = [
    key("all"),
    key("alpha", adapters=["alpha-*"]),
    key("ops", admin=True),
    key("characters", quota={"characters": 20 * len(TEXT)}),
    key("deepl", quota={"characters": TWO_TEXTS}),
    key("tokens", quota={"tokens": 200}),
    key("one", concurrency=1),
    key("slow", requests_per_minute=6),
]


@dataclass
class Guarded:
    """A server of ours that wants keys, and its configuration."""

    server: RunningServer
    config: Path

    def client(self, name: str | None, **headers: str) -> httpx.Client:
        shown = {"Authorization": f"Bearer secret-{name}"} if name else {}
        return httpx.Client(base_url=self.server.url, headers={**shown, **headers}, timeout=60)

    def ask(self, name: str | None, model: str = ALPHA, **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": TEXT}], **more}
        with self.client(name) as client:
            return client.post("/v1/chat/completions", json=body)

    def write(self, keys: list[dict[str, Any]], **more: Any) -> None:
        settings = {"keys": keys, "usage": str(self.config.with_name("usage.sqlite")), **more}
        self.config.write_text(yaml.safe_dump(settings), encoding="utf-8")

    def reload(self, said: str) -> None:
        """Send SIGHUP, and wait until the log says what came of it."""
        self.server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while said not in self.server.log.read_text(errors="replace"):
            assert time.monotonic() < deadline, f"the log does not say {said!r}"
            time.sleep(0.05)
        time.sleep(0.3)  # the API process looks at it every 0.2 s


@pytest.fixture(scope="module")
def guarded(
    server: RunningServer, registry_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """A second server, of the session's registry, with the keys above."""
    folder = tmp_path_factory.mktemp("guarded")
    config = folder / "serving.yaml"
    found = Guarded(server, config)
    found.write(KEYS)
    log = folder / "server.log"
    found.server = start_server(registry_root, log, "--config", str(config), *AS_COMPILED)
    try:
        yield found
    finally:
        code = found.server.stop()
    assert code == 0, log.read_text(errors="replace")[-4000:]


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


def test_a_key_is_wanted_where_anything_is_to_be_had(guarded: Guarded) -> None:
    for name in (None, "unheard-of"):
        assert (guarded.ask(name).status_code, code_of(guarded.ask(name))) == (401, "key_invalid")
        with guarded.client(name) as client:
            got = {path: client.get(path).status_code for path in ("/v1/models", "/metrics")}
        assert got == {"/v1/models": 401, "/metrics": 401}
        assert httpx.get(f"{guarded.server.url}/ready").status_code == 200
    assert guarded.ask("all").json()["choices"][0]["message"]["content"] == "alpha"
    by_body = {"model": ALPHA, "prompt": TEXT, "api_key": "secret-all"}
    assert httpx.post(f"{guarded.server.url}/v1/completions", json=by_body).status_code == 200


def test_the_official_client_shows_its_key_and_understands_refusals(guarded: Guarded) -> None:
    url = f"{guarded.server.url}/v1"
    good = openai.OpenAI(base_url=url, api_key="secret-all", max_retries=0)
    assert {ALPHA, BETA, BASE} <= {model.id for model in good.models.list()}
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="secret-none", max_retries=0).models.list()


def test_metrics_are_for_admins(guarded: Guarded) -> None:
    with guarded.client("all") as client:
        assert client.get("/metrics").status_code == 403
    with guarded.client("ops") as client:
        assert 'dragoman_shed_total{reason="key_invalid"}' in client.get("/metrics").text


def test_what_a_key_may_not_use_does_not_exist_for_it(guarded: Guarded) -> None:
    with guarded.client("alpha") as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == [ALPHA]
        hidden, none = (client.get(f"/v1/models/{name}") for name in (BETA, "none-en-fr"))
        assert hidden.status_code == none.status_code == 404
        assert hidden.text.replace(BETA, "none-en-fr") == none.text
    assert guarded.ask("alpha").status_code == 200
    unheard_of = guarded.ask("alpha", "none-en-fr")
    for model in (BETA, f"{BETA}@1", f"{BETA}@canary", BASE, "gamma-en-de"):
        answer = guarded.ask("alpha", model)
        assert answer.status_code == 404
        assert answer.text.replace(model, "none-en-fr") == unheard_of.text
        assert not [name for name in (BETA, BASE, "gamma") if name in unheard_of.text]
    # And what is like one of its own, but is none: its neighbours are not named.
    assert BETA not in guarded.ask("alpha", "alpha-en-xx").text
    # No name at all is the base.
    assert guarded.ask("alpha", "").status_code == 404


def test_the_time_of_a_404_does_not_tell_whether_it_exists(guarded: Guarded) -> None:
    times: dict[str, list[float]] = {BETA: [], "none-en-fr": []}
    with guarded.client("alpha") as client:
        for turn in range(120):
            for model in times if turn % 2 else reversed(times):
                body = {"model": model, "messages": [{"role": "user", "content": TEXT}]}
                began = time.perf_counter()
                client.post("/v1/chat/completions", json=body)
                times[model].append(time.perf_counter() - began)
    medians = [statistics.median(found[20:]) for found in times.values()]
    assert max(medians) / min(medians) < 1.25


def at_once(count: int, ask: Callable[[], httpx.Response]) -> Counter[int]:
    with ThreadPoolExecutor(count) as pool:
        return Counter(answer.status_code for answer in pool.map(lambda _: ask(), range(count)))


def test_a_quota_of_characters_is_exact_however_many_ask_at_once(guarded: Guarded) -> None:
    assert at_once(50, lambda: guarded.ask("characters", max_tokens=1)) == {200: 20, 429: 30}
    answer = guarded.ask("characters")
    assert code_of(answer) == "quota_exceeded"
    assert int(answer.headers["retry-after"]) > 60
    with guarded.client("characters") as client:
        assert client.get("/v1/usage").json()["data"][0]["characters_used"] == 20 * len(TEXT)


def test_deepls_clients_are_told_456(guarded: Guarded) -> None:
    headers = {"Authorization": "DeepL-Auth-Key secret-deepl"}
    body = {"model": ALPHA, "prompt": TEXT, "max_tokens": 1}
    statuses = [
        httpx.post(f"{guarded.server.url}/v1/completions", json=body, headers=headers).status_code
        for _ in range(3)
    ]
    assert statuses == [200, 200, 456]


def test_a_quota_of_tokens_counts_what_was_used_and_is_never_passed(guarded: Guarded) -> None:
    statuses = at_once(30, lambda: guarded.ask("tokens", max_tokens=4))
    assert set(statuses) == {200, 429}
    with guarded.client("tokens") as client:
        shown = client.get("/v1/usage").json()["data"][0]
        used = guarded.ask("tokens", max_tokens=4).json()
    each = shown["tokens_used"] / statuses[200]
    assert shown["tokens_used"] <= 200
    assert each == int(each)  # all alike, and nothing of the upper bounds is left
    assert "usage" not in used or shown["tokens_used"] + each <= 200


def test_rates_and_concurrency_hold(guarded: Guarded) -> None:
    statuses = at_once(10, lambda: guarded.ask("slow", max_tokens=1))
    assert statuses == {200: 6, 429: 4}
    limited = guarded.ask("slow")
    assert code_of(limited) == "rate_limited"
    assert 1 <= int(limited.headers["retry-after"]) <= 10
    statuses = at_once(8, lambda: guarded.ask("one", max_tokens=40, ignore_eos=True))
    assert statuses[200] >= 1
    assert statuses[429] >= 6


def test_clients_steer_nothing(guarded: Guarded) -> None:
    with guarded.client("all", **{"X-Vllm-Priority": "-5", "X-data-parallel-rank": "7"}) as client:
        body = {
            "model": ALPHA, "prompt": TEXT, "max_tokens": 1, "priority": -5,
            "vllm_xargs": {"dragoman_turn": "x"}, "kv_transfer_params": {"a": 1}, "request_id": "r",
        }  # fmt: skip
        assert client.post("/v1/completions", json=body).status_code == 200


def test_limits_are_told(guarded: Guarded) -> None:
    asked: list[dict[str, Any]] = [{"n": 9}, {"logprobs": True, "top_logprobs": 21}]
    for more in asked:
        answer = guarded.ask("all", **more)
        assert (answer.status_code, code_of(answer)) == (422, "limit_exceeded")
    with guarded.client("all") as client:
        large = client.post("/v1/completions", content=b"x" * 2_000_000)
        assert (large.status_code, code_of(large)) == (413, "body_too_large")
        many = client.post("/v1/completions", json={"model": ALPHA, "prompt": ["a"] * 65})
        assert code_of(many) == "limit_exceeded"


def test_keys_and_limits_are_reloaded_without_a_restart(guarded: Guarded) -> None:
    child = guarded.server.log.read_text(errors="replace").count("ready:")
    with guarded.client("all") as client:
        body = {
            "model": ALPHA,
            "prompt": TEXT,
            "max_tokens": 60,
            "ignore_eos": True,
            "stream": True,
        }
        with client.stream("POST", "/v1/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            guarded.write([*KEYS[1:], key("new")], limits={"choices": 2})
            guarded.reload("reloaded")
            assert guarded.ask("new").status_code == 200
            assert guarded.ask("all").status_code == 401
            assert code_of(guarded.ask("new", n=3)) == "limit_exceeded"
            # What was let in goes on to its end.
            assert "data: [DONE]" in list(lines)
    guarded.write([key("bad name"), {"name": "x"}])
    guarded.reload("keys.0.name")
    assert guarded.ask("new").status_code == 200
    guarded.write(KEYS)
    guarded.reload("reloaded")
    assert guarded.ask("all").status_code == 200
    assert guarded.server.log.read_text(errors="replace").count("ready:") == child


def test_only_hashes_are_kept_and_nothing_secret_is_logged(guarded: Guarded) -> None:
    guarded.ask("all")
    pid = guarded.server.process.pid
    environments = [
        path.read_bytes()
        for path in Path("/proc").glob("[0-9]*/environ")
        if is_descendant(int(path.parent.name), pid)
    ]
    assert len(environments) >= 3
    kept = [guarded.server.log.read_bytes(), guarded.config.read_bytes(), *environments]
    assert not any(b"secret-all" in text for text in kept)
    assert not any(hash_of("secret-all").encode() in text for text in environments)
    assert TEXT.encode() not in guarded.server.log.read_bytes()


def is_descendant(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return False


def test_a_client_that_hangs_up_frees_its_seat_within_a_second(guarded: Guarded) -> None:
    def running() -> float:
        with guarded.client("ops") as client:
            lines = client.get("/metrics").text.splitlines()
        return sum(
            float(line.split()[-1])
            for line in lines
            if line.startswith("vllm:num_requests_running")
        )

    body = {"model": BASE, "prompt": TEXT, "max_tokens": 1500, "ignore_eos": True, "stream": True}
    for _ in range(5):
        with guarded.client("all") as client:
            with client.stream("POST", "/v1/completions", json=body) as stream:
                next(stream.iter_lines())
            left = time.monotonic()
        while running():
            assert time.monotonic() - left < 1.0, "the seat is still taken after a second"


def test_each_request_is_a_line_of_the_log_with_its_id(guarded: Guarded) -> None:
    with guarded.client("all", **{"X-Request-Id": "my-request-7"}) as client:
        body = {"model": ALPHA, "messages": [{"role": "user", "content": TEXT}]}
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.headers["x-request-id"] == "my-request-7"
    time.sleep(0.5)  # it is written after the answer
    [line] = [
        line
        for line in guarded.server.log.read_text(errors="replace").splitlines()
        if "id=my-request-7" in line
    ]
    assert "POST /v1/chat/completions 200" in line
    assert "key=all adapter=alpha-en-fr@1" in line


def test_usage_is_written_for_each_key(guarded: Guarded) -> None:
    from tests.integration.harness import dragoman

    guarded.ask("all")
    time.sleep(1.5)
    usage = str(guarded.config.with_name("usage.sqlite"))
    done = dragoman("usage", "--url", usage, "--by", "key", "--json")
    rows = {row["key"]: row for row in json.loads(done.stdout)["usage"]}
    assert rows["all"]["requests"] >= 1
    assert rows["all"]["completion_tokens"] > 0


def test_two_keys_share_a_full_server_whatever_each_sends(guarded: Guarded) -> None:
    """One key has three times as many streams as the other, which fill the server by themselves."""
    done: Counter[str] = Counter()
    began = time.monotonic()

    def stream(name: str) -> None:
        with guarded.client(name) as client:
            while time.monotonic() < began + 14:
                body = {"model": BASE, "prompt": TEXT, "max_tokens": 8, "ignore_eos": True}
                answer = client.post("/v1/completions", json=body)
                # The first seconds are those of who came first.
                done[name] += answer.status_code == 200 and time.monotonic() > began + 4

    names = ["all"] * 90 + ["ops"] * 32
    threads = [threading.Thread(target=stream, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done["ops"] >= 0.8 * done["all"], done

"""`dragoman eval` over files, endpoints, and a small model in this process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import dragoman
from adapters.ids import LanguagePair
from tests.training.page.bodies import Page
from tests.training.synthesis.served import Served, completion, serving, text_of
from training.evaluation import remote
from training.evaluation.engine import Made
from training.evaluation.outputs import write_lines
from training.evaluation.result import COPY

EN_FR = LanguagePair("en", "fr")
SOURCES = [f"open the file number {n} now" for n in range(12)]
# What the server answers is right in capitals, and half of the references are.
REFERENCES = [text.upper() if n % 2 else f"ouvrir {n}" for n, text in enumerate(SOURCES)]


@pytest.fixture
def server() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.tsv"
    rows = [f"{s}\t{t}\n" for s, t in zip(SOURCES, REFERENCES, strict=True)]
    path.write_text("".join(rows), encoding="utf-8")
    return path


def call(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(dragoman.build_app(), ["eval", *map(str, arguments)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def fails(*arguments: object) -> str:
    result = CliRunner().invoke(dragoman.build_app(), ["eval", *map(str, arguments)])
    assert result.exit_code != 0
    return " ".join(f"{result.exception} {result.output}".replace("│", " ").split())


def of(server: Served) -> tuple[str, ...]:
    return "--url", server.url, "--served", "teacher"


def test_an_endpoint_is_scored_and_its_figures_can_be_had_again(
    server: Served, data: Path, tmp_path: Path
) -> None:
    out, html = tmp_path / "out.txt", tmp_path / "page.html"
    asked = ("--data", data, "--pair", "en-fr", "--licence", "CC0-1.0")
    body = json.loads(call(*of(server), *asked, "--out", out, "--html", html, "--json").stdout)
    assert [row["translation"] for row in body["translations"]] == [t.upper() for t in SOURCES]
    assert out.read_text(encoding="utf-8").splitlines() == [t.upper() for t in SOURCES]
    assert body["scoreboard"]["baseline"] == COPY
    (own, copied) = body["scoreboard"]["systems"]
    assert own["cost"]["prompt_tokens"] == 10 * len(SOURCES)
    assert own["scores"]["chrF++"]["p_value"] < 0.05
    assert copied["faults_percent"]["copied"] == 50.0  # half of the references are copies as well
    assert body["test_set"]["licence"] == "CC0-1.0"
    assert body["by_segment"]["teacher"]["fault"][1] is None
    assert "teacher" in "".join(Page(html.read_text(encoding="utf-8")).texts["h1"])
    assert server.asked[0]["messages"][0]["content"].startswith("Translate from English to French")


@pytest.mark.slow
def test_the_table_names_systems_figures_and_signatures(server: Served, data: Path) -> None:
    told = call(*of(server), "--data", data, "--pair", "en-fr").output
    for expected in ("teacher", COPY, "12 segments", "nw:2", "tok:13a", "tokens in/out", "10/5"):
        assert expected in told


@pytest.mark.slow
def test_two_evaluations_are_compared_without_translating_again(
    server: Served, data: Path, tmp_path: Path
) -> None:
    asked = ("--data", data, "--pair", "en-fr", "--json")
    earlier = tmp_path / "earlier.json"
    earlier.write_text(call(*of(server), *asked).stdout, encoding="utf-8")
    lines = tmp_path / "by-hand.txt"
    write_lines(REFERENCES, lines)
    rows = ("--baseline", earlier, "--baseline-outputs", lines)
    body = json.loads(call(*of(server), *asked, *rows).stdout)
    systems = {row["system"]: row for row in body["scoreboard"]["systems"]}
    assert list(systems) == ["teacher", "teacher (2)", "by-hand", COPY]
    assert body["scoreboard"]["baseline"] == "teacher (2)"
    assert systems["teacher"]["scores"]["BLEU"]["p_value"] == 1.0  # the same answers
    assert systems["by-hand"]["scores"]["chrF++"]["p_value"] < 0.05
    assert systems["teacher (2)"]["cost"]["prompt_tokens"] == 10 * len(SOURCES)
    by_hand = json.loads(call(*of(server), *asked, "--baseline-outputs", lines).stdout)
    assert by_hand["scoreboard"]["baseline"] == "by-hand"
    copied = ("--baseline-outputs", lines, "--baseline", "copy")
    assert json.loads(call(*of(server), *asked, *copied).stdout)["scoreboard"]["baseline"] == COPY


def test_outputs_of_other_texts_are_refused(server: Served, data: Path, tmp_path: Path) -> None:
    asked = (*of(server), "--data", data, "--pair", "en-fr", "--limit", 5)
    lines, other = tmp_path / "lines.txt", tmp_path / "other.json"
    write_lines(REFERENCES, lines)
    assert "expected 5 lines" in fails(*asked, "--baseline-outputs", lines)
    other.write_text(call(*asked[:-1], 4, "--json").stdout, encoding="utf-8")
    assert "pairs.tsv, 4 segments" in fails(*asked, "--baseline", other)
    other.write_text("{}", encoding="utf-8")
    assert "expected what `dragoman eval --json` prints" in fails(*asked, "--baseline", other)
    assert "cannot be read" in fails(*asked, "--baseline", tmp_path / "none")
    assert len(server.asked) == 4  # only the one that went through


def test_the_file_may_say_which_languages(server: Served, tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text('{"source": "Save", "target": "SAVE", "pair": "en-de"}\n')
    body = json.loads(call(*of(server), "--data", path, "--json").stdout)
    assert body["pair"] == "en-de"
    assert "German" in server.asked[0]["messages"][0]["content"]


def test_what_is_wrong_is_told_before_anything_is_asked(
    server: Served, data: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    named = of(server)
    wrong: dict[tuple[object, ...], str] = {
        ("--data", data): "name one system",
        ("--data", data, "--model", "x", *named): "name one system",
        ("--data", data, "--url", server.url): "--url and --served go together",
        ("--data", data, "--model", "x", "--prompt", "{text}"): "--key-env and --prompt are of",
        ("--data", data, *named): "says which languages",
        ("--data", data, "--pair", "en", *named): "en",
        ("--data", data, "--pair", "en-fr", "--from", "en", *named): "leave one of them out",
        ("--data", tmp_path / "none.tsv", "--pair", "en-fr", *named): "no such file",
        ("--data", tmp_path / "a.doc", "--pair", "en-fr", *named): "ending '.doc'",
        ("--data", empty, "--pair", "en-fr", *named): "found no segment of en-fr",
        ("--data", data, "--pair", "en-fr", "--baseline", "base", *named): "is of --model and",
        ("--data", data, "--pair", "en-fr", "--html", "/no/a.html", *named): "there is no folder",
        ("--data", data, "--pair", "en-fr", "--key-env", "NO_KEY", *named): "is not set",
        ("--data", data, "--url", "ftp://a", "--served", "b"): "expected http://",
        ("--data", data, "--neural", "COMET", *named): "expected NAME=COMMAND",
        ("--data", data, "--neural", "BLEURT=x", *named): "a name with comet or metricx",
        ("--data", data, "--neural", "COMET=no-such-command", *named): "no command no-such",
        ("--data", data, "--pair", "en-fr", "--prompt", "no text", *named): "{text} once",
    }
    for arguments, complaint in wrong.items():
        assert complaint in fails(*arguments), arguments
    assert not server.asked


def test_a_server_that_is_not_there_is_told_at_once(data: Path) -> None:
    with serving() as gone:
        address = gone.url
    told = fails("--url", address, "--served", "a", "--data", data, "--pair", "en-fr")
    assert "cannot be reached" in told


def test_a_wrong_key_ends_the_evaluation(server: Served, data: Path) -> None:
    server.reply = lambda _: (401, {}, b"no such key")
    told = fails(*of(server), "--data", data, "--pair", "en-fr")
    assert "status 401" in told
    assert "no such key" in told


def test_texts_without_an_answer_count_as_empty_ones(server: Served, data: Path) -> None:
    def reply(body: dict[str, Any]) -> Any:
        if "number 3" in text_of(body):
            return 400, {}, b"I will not"
        finish = "length" if "number 4" in text_of(body) else "stop"
        return completion(text_of(body).upper(), finish=finish)

    server.reply = reply
    result = call(*of(server), "--data", data, "--pair", "en-fr", "--json")
    body = json.loads(result.stdout)
    assert body["translations"][3]["translation"] == ""
    assert body["by_segment"]["teacher"]["fault"][3] == "empty"
    notes = body["scoreboard"]["systems"][0]["notes"]
    assert notes["missing"] == "1 texts got no answer"
    assert notes["cut"] == "1 answers ran into their limit of tokens"


def test_stopping_ends_with_130_and_writes_nothing(
    server: Served, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> Made:
        raise KeyboardInterrupt

    monkeypatch.setattr(remote.Remote, "answer", stopped)
    html = tmp_path / "page.html"
    asked = (*of(server), "--data", data, "--pair", "en-fr", "--html", html)
    assert "nothing was written" in call(*asked, code=130).stderr
    assert not html.exists()


@pytest.mark.slow
def test_a_signal_ends_a_run_under_way_at_once(server: Served, data: Path, tmp_path: Path) -> None:
    server.delay_s = 30.0
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "dragoman", "eval", *of(server), "--data", str(data)]
    more = ["--pair", "en-fr", "--html", str(page)]
    with subprocess.Popen([*command, *more], stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 60
        while not server.asked and time.monotonic() < deadline:
            time.sleep(0.05)
        began = time.monotonic()
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=20)
    assert running.returncode == 130
    assert time.monotonic() - began < 10
    assert told.splitlines()[-1] == "stopped; nothing was written"
    assert not page.exists()


@pytest.mark.slow
def test_keys_and_queries_of_an_address_are_never_shown(
    server: Served, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "very-secret")
    address = f"{server.url}/v1?code=also-secret"
    asked = ("--url", address, "--served", "a", "--key-env", "A_KEY")
    monkeypatch.setattr("sys.argv", ["dragoman", "eval", "--url", address, "--served", "a"])
    shown = call(*asked, "--data", data, "--pair", "en-fr", "--json").output
    assert server.headers[0]["authorization"] == "Bearer very-secret"
    assert "very-secret" not in shown
    assert "also-secret" not in shown


@pytest.mark.slow
def test_probes_ask_the_same_system(server: Served, data: Path) -> None:
    asked = (*of(server), "--data", data, "--pair", "en-fr", "--probes", "--json")
    body = json.loads(call(*asked).stdout)
    assert body["probes"]
    assert len(server.asked) > len(SOURCES)
    assert {"name", "value", "note", "signature"} <= body["probes"][0].keys()


def test_terms_are_counted_as_a_list_says(server: Served, data: Path, tmp_path: Path) -> None:
    terms = tmp_path / "terms.tsv"
    terms.write_text("file\tFILE\nnumber\tnuméro\n", encoding="utf-8")
    asked = (*of(server), "--data", data, "--pair", "en-fr", "--terms", terms, "--json")
    (found,) = json.loads(call(*asked).stdout)["probes"]
    assert (found["name"], found["value"], found["count"]) == ("terms", 50.0, 2 * len(SOURCES))
    assert "no such file" in fails(*asked[:-3], "--terms", tmp_path / "none.tsv")


@pytest.mark.train
def test_a_model_here_is_measured_against_its_base(tmp_path: Path) -> None:
    from tests.training import tiny, tiny_pairs

    base = tiny.write_base(tmp_path / "base")
    pairs = tiny_pairs.write_jsonl(tmp_path / "pairs.jsonl", "en", "de")
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(
        f"id: ui-en-de\nlicence: CC0-1.0\nbase: {base}\n"
        "data: [{jsonl: pairs.jsonl, licence: CC0-1.0}]\nsplit: {dev: 4, test: 6}\n"
        "schedule: {max_steps: 2, batch_size: 4}\nevaluate: {segments: 6, shots: 1}\n"
    )
    trained = ["train", str(recipe), "--out", str(run), "--fit-only"]
    assert CliRunner().invoke(dragoman.build_app(), trained).exit_code == 0
    asked = ("--model", run, "--data", pairs, "--limit", 6, "--baseline", "base", "--json")
    body = json.loads(call(*asked).stdout)
    assert [row["system"] for row in body["scoreboard"]["systems"]] == ["ui-en-de", "base", COPY]
    own, plain, _ = body["scoreboard"]["systems"]
    assert own["cost"]["prompt_tokens"] == plain["cost"]["prompt_tokens"] > 6
    assert body["trained_on"][0]["licence"] == "CC0-1.0"
    assert body["scoreboard"]["baseline"] == "base"
    assert "not told any language" in fails(*asked, "--pair", "en-fr")

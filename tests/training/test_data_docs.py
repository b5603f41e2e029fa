"""docs/data.md from top to end: its files are written, its commands run, its output compared."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from typer.testing import CliRunner

import dragoman
from tests.training import tiny
from tests.training.synthesis.served import Reply, Served, completion, serving, text_of
from training.clean.rules import Cleaner, CleanRules
from training.corpus.source import KINDS, Source
from training.recipe import Recipe

PAGE: Final = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
# A block in its language, and the last name in backticks on the lines before it.
_BLOCK: Final = re.compile(
    r"(?P<lead>(?:^[^\n]+\n)*)\n?"
    r"^```(?P<kind>\w+)\n(?P<text>.*?)^```\n(?:\n^as `(?P<after>[^`]+)`)?",
    re.MULTILINE | re.DOTALL,
)
_FILES: Final = {"xml", "yaml", "md", "txt"}
# What the teacher of the page knows.
_ENGLISH: Final = {"Se déconnecter": "Log out", "Ajouter au panier": "Put into the cart"}


def blocks() -> Iterator[tuple[str, str, str]]:
    """Yield kind, file name and text of each block."""
    for match in _BLOCK.finditer(PAGE):
        names = re.findall(r"`([\w./-]+\.(?:tmx|yaml|md|txt))`", match["lead"])
        yield match["kind"], match["after"] or (names[-1] if names else ""), match["text"]


def commands(text: str) -> list[str]:
    return [re.sub(r"\s+# .*", "", line) for line in text.splitlines() if line]


def teacher(body: dict[str, Any]) -> Reply:
    text = text_of(body)
    words = [f"word{n}" for n in range(len(text.split()))]
    marks = re.findall(r"\{\w+\}|</?a[^>]*>", text)
    made = _ENGLISH.get(text, " ".join([*words, *marks]))
    return completion(made, logprobs=[-0.2])


@pytest.fixture
def server() -> Iterator[Served]:
    with serving() as served:
        served.reply = teacher
        yield served


def plain(text: str) -> str:
    return " ".join(re.sub(r"[│┃┆|─━┼╇]", " ", text).split())


@pytest.mark.slow
def test_the_page_can_be_followed(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write_base(tmp_path / "tiny")
    for kind, name, text in blocks():
        if kind in _FILES and (kind != "yaml" or text.startswith("id: ")):
            assert name, f"no name for the file {text[:60]!r}"
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
    shown, ran = "", 0
    for kind, _, text in blocks():
        if kind == "sh":
            shown = ""
            for command in commands(text):
                typed = command.replace("http://127.0.0.1:8000", server.url)
                # The recipe's own base is no matter of a minute.
                typed = typed.replace("data score", f"data score --base {tmp_path / 'tiny'}")
                done = CliRunner().invoke(dragoman.build_app(), shlex.split(typed)[1:])
                assert done.exit_code == 0, f"{command}: {done.output} {done.exception}"
                shown += done.stdout
                ran += 1
        elif kind == "text":
            for line in text.splitlines():
                assert plain(line) in plain(shown), f"{line!r} is not what is shown:\n{shown}"
        elif kind == "json":
            written = (tmp_path / "corpus" / "train.jsonl").read_text(encoding="utf-8")
            assert text in written.replace(str(tmp_path), "/data")
    assert ran >= 8
    parts = ("corpus/test.jsonl", "corpus-more/test.jsonl")
    first, second = ((tmp_path / part).read_text(encoding="utf-8") for part in parts)
    assert first == second
    assert "Log out" in (tmp_path / "corpus-more" / "train.jsonl").read_text(encoding="utf-8")
    assert "<svg" in (tmp_path / "shop.html").read_text(encoding="utf-8")


def test_recipes_and_pieces_of_them_on_the_page_are_valid(tmp_path: Path) -> None:
    recipe: dict[str, Any] = {}
    found = [yaml.safe_load(text) for kind, _, text in blocks() if kind == "yaml"]
    assert len(found) >= 4
    for piece in found:
        if isinstance(piece, list):
            for source in piece:
                Source.model_validate(source)
            continue
        # A piece without an id is of the recipe that was last shown.
        recipe = piece if "id" in piece else {**recipe, **piece}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        Recipe.load(str(tmp_path / "recipe.yaml"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source_is_on_the_page(kind: str) -> None:
    assert f"`{kind}`" in PAGE


@pytest.mark.parametrize("rule", Cleaner(CleanRules(blocked_words=("x",))).names)
def test_every_rule_has_its_advice(rule: str) -> None:
    (table,) = re.findall(r"\| rule \| the usual cause.*?\n\n", PAGE, re.DOTALL)
    assert f"`{rule}`" in table

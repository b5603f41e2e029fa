from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from adapters import cli
from adapters.base_model import BaseModelRef
from adapters.ids import AdapterId
from adapters.registry import FileRegistry
from tests import fakes
from tests.adapters.ran import Run, one_line

UI = AdapterId.parse("ui-en-fr")


@pytest.fixture
def two(registry: FileRegistry, tmp_path: Path) -> FileRegistry:
    for seed in range(2):
        folder = fakes.write_lora(tmp_path / f"lora-{seed}", seed=seed)
        registry.publish(fakes.contract(folder), folder)
    return registry


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split("[│┃]", line)]


def test_an_empty_registry_lists_nothing_and_says_what_to_do(run: Run) -> None:
    ran = run("list")
    assert (ran.code, ran.out) == (0, "")
    assert "dragoman train" in ran.err
    assert run("list", "--json").json == []


def test_every_version_is_listed(run: Run, two: FileRegistry) -> None:
    rows = run("list", "--json").json
    assert [(r["id"], r["version"], r["aliases"]) for r in rows] == [
        ("ui-en-fr", 1, ["stable"]),
        ("ui-en-fr", 2, []),
    ]
    lines = run("list").out.splitlines()
    assert cells(lines[0]) == ["id", "version", "aliases", "base", "rank", "chrF++", "digest"]
    assert len(lines) == 4, "in a pipe a row is a line"
    assert rows[1]["digest"][7:19] in lines[3]


def test_a_broken_version_does_not_hide_the_others(run: Run, two: FileRegistry) -> None:
    (two.versions(UI)[0].folder / "manifest.json").write_text("{")
    ran = run("list", "--json")
    assert ran.code == 1
    assert [r["version"] for r in ran.json] == [2]
    assert ran.err.startswith("error[manifest_invalid]: ")


def test_one_version_is_shown(run: Run, two: FileRegistry) -> None:
    assert run("show", "ui-en-fr@2", "--json").json["version"] == 2
    shown = run("show", "ui-en-fr").out
    assert "<start_of_turn>user" in shown
    assert "stable" in shown


def test_markup_and_escapes_of_a_manifest_are_plain_text(
    run: Run, registry: FileRegistry, lora: Path
) -> None:
    prompt = fakes.prompt_format(system="[red]\\[x] \x1b[31m :smile:")
    registry.publish(fakes.contract(lora, prompt=prompt), lora)
    out = run("show", "ui-en-fr").out
    assert "[red]\\[x] \ufffd[31m :smile:" in out
    assert "\x1b" not in out


def test_verify_passes_over_whole_versions(run: Run, two: FileRegistry) -> None:
    ran = run("verify", "--json")
    assert ran.code == 0
    assert [(r["name"], r["error"]) for r in ran.json] == [
        ("ui-en-fr@1", None),
        ("ui-en-fr@2", None),
    ]
    assert cells(run("verify", "ui-en-fr@2").out.splitlines()[-1]) == ["ui-en-fr@2", "ok"]


def test_verify_reports_every_broken_version_and_fails(run: Run, two: FileRegistry) -> None:
    first, second = two.versions(UI)
    (first.folder / "manifest.json").write_text("{")
    (second.folder / "adapter_model.safetensors").write_bytes(b"x")
    ran = run("verify", "--json")
    assert ran.code == 1
    assert [r["code"] for r in ran.json] == ["manifest_invalid", "file_corrupt"]
    assert "file_corrupt" in run("verify").out


def test_verify_knows_the_servers_limit_and_the_base(
    run: Run, two: FileRegistry, fetched: Path, registry: FileRegistry, lora: Path
) -> None:
    assert run("verify", "ui-en-fr", "--max-rank", 2, "--json").json[0]["code"] == "rank_too_large"
    ran = run("verify", "ui-en-fr", "--base", "tiny", "--json")
    assert ran.json[0]["code"] == "base_model_mismatch"
    registry.publish(
        fakes.contract(lora, adapter_id="own-en-fr", base=BaseModelRef.read(fetched)), lora
    )
    assert run("verify", "own-en-fr", "--base", fetched).code == 0


def test_a_base_that_is_not_there_is_said_once(run: Run, two: FileRegistry) -> None:
    assert "absent" in one_line(run("verify", "--base", "absent"), "base_model_not_found")


def test_a_draft_and_a_version_of_another_registry_can_be_published(
    run: Run, lora: Path, tmp_path: Path
) -> None:
    (lora / "manifest.json").write_text(fakes.contract(lora).to_json())
    row = run("publish", lora, "--json").json
    assert (row["version"], row["aliases"]) == (1, ["stable"])
    elsewhere = run("publish", row["folder"], "--registry", tmp_path / "other", "--json").json
    assert elsewhere["digest"] == row["digest"]


def test_publish_says_whether_the_version_is_served(run: Run, two: FileRegistry) -> None:
    first, second = two.versions(UI)
    assert "stable" in run("publish", first.folder).out.splitlines()[-1]
    assert "promote it" in run("publish", second.folder).out.splitlines()[-1]


def test_promote_moves_and_rollback_moves_back(run: Run, two: FileRegistry) -> None:
    assert run("promote", "ui-en-fr@2", "--json").json["aliases"] == ["stable"]
    assert run("promote", "ui-en-fr@1", "--alias", "canary").code == 0
    assert two.aliases(UI) == {"stable": 2, "canary": 1}
    assert run("rollback", "ui-en-fr", "--json").json["version"] == 1
    assert "promote" in one_line(run("rollback", "ui-en-fr"), "alias_invalid")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "ui-en-fx"), "adapter_not_found"),
        (("show", "ui-en-fr@9"), "adapter_not_found"),
        (("show", "../x"), "invalid_id"),
        (("verify", "ui-en-fx"), "adapter_not_found"),
        (("promote", "ui-en-fr@9"), "adapter_not_found"),
        (("promote", "ui-en-fr@2", "--alias", "A"), "alias_invalid"),
        (("rollback", "ui-en-fx"), "adapter_not_found"),
        (("publish", "/absent"), "manifest_invalid"),
        (("import", "/absent"), "file_missing"),
    ],
)
def test_what_fails_says_so_in_one_line(
    run: Run, two: FileRegistry, arguments: tuple[str, ...], code: str
) -> None:
    one_line(run(*arguments), code)


@pytest.mark.parametrize("arguments", [("show",), ("verify", "--surprise"), ("surprise",)])
def test_bad_usage_is_exit_code_two(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert "Usage" in ran.err


def test_every_command_has_an_example_that_names_it(run: Run) -> None:
    group = typer.main.get_command(cli.app)
    names = list(getattr(group, "commands", {}))
    assert {"list", "show", "verify", "import", "publish", "promote", "rollback"} <= set(names)
    for name in names:
        ran = run(name, "--help")
        assert ran.code == 0
        assert f"Example: dragoman adapters {name}" in " ".join(ran.out.split())

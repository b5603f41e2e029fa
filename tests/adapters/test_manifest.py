from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.errors import FileMissing, ManifestInvalid
from adapters.manifest import (
    AdapterManifest,
    Conversion,
    Decoding,
    Gate,
    Golden,
    Score,
    Training,
    describe,
    hash_files,
)
from tests import fakes

WHEN = datetime(2026, 5, 6, tzinfo=UTC)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


@pytest.fixture
def full(lora: Path) -> AdapterManifest:
    draft = fakes.contract(
        lora,
        prompt=fakes.prompt_format(system="x", examples=[{"source": "a", "target": "b"}]),
        training=Training(
            recipe={"data": [{"name": "ui", "weight": 1.5}], "seed": 0},
            method="lora",
            seed=0,
            seconds=1.5,
            hardware="2 cores",
            versions={"trl": "1.16"},
            data=(),
        ),
        scores=(Score(metric="chrF++", value=50, ci95=(49, 51), signature="s", test_set="t"),),
        golden=(Golden(source="a", token_ids=(1, 2), logprob=-0.25),),
        gate=Gate(passed=True, reasons=("better",)),
    )
    return draft.model_copy(update={"digest": draft.compute_digest()})


def write(folder: Path, body: Any) -> Path:
    folder.mkdir(exist_ok=True)
    text = body if isinstance(body, str) else json.dumps(body)
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder


def body_of(manifest: AdapterManifest) -> dict[str, Any]:
    return dict(json.loads(manifest.to_json()))


def test_a_manifest_reads_back_what_was_written(full: AdapterManifest, tmp_path: Path) -> None:
    read = AdapterManifest.read(write(tmp_path / "m", full.to_json()))
    assert read == full
    assert read.to_json() == full.to_json()
    assert body_of(full)["schema"] == 1
    assert body_of(full)["id"] == "ui-en-fr"
    assert body_of(full)["pairs"] == ["en-fr"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@same_folder
@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_any_recipe_keeps_its_digest_through_json(
    full: AdapterManifest, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    assert full.training is not None
    training = full.training.model_copy(update={"recipe": recipe})
    changed = full.model_copy(update={"training": training})
    changed = changed.model_copy(update={"digest": changed.compute_digest()})
    assert AdapterManifest.read(write(tmp_path / "m", changed.to_json())) == changed


@same_folder
@given(st.integers(1, 10**6), st.datetimes(timezones=st.just(UTC)))
def test_the_digest_does_not_depend_on_number_and_time(
    full: AdapterManifest, version: int, created: datetime
) -> None:
    other = full.model_copy(update={"version": version, "created": created, "digest": ""})
    assert other.compute_digest() == full.digest


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for k, v in value.items() for leaf in _leaves(v, (*path, k))]
    if isinstance(value, list):
        return [leaf for k, v in enumerate(value) for leaf in _leaves(v, (*path, k))]
    return [path]


def _other(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}0"
        case _:
            return "x"


def test_every_leaf_but_number_and_time_is_part_of_the_digest(
    full: AdapterManifest, tmp_path: Path
) -> None:
    body = body_of(full)
    leaves = [
        leaf for leaf in _leaves(body) if leaf[0] not in {"digest", "version", "created", "schema"}
    ]
    assert len(leaves) > 40
    for leaf in leaves:
        tampered = json.loads(json.dumps(body))
        inner = tampered
        for key in leaf[:-1]:
            inner = inner[key]
        inner[leaf[-1]] = _other(inner[leaf[-1]])
        with pytest.raises(ManifestInvalid):
            AdapterManifest.read(write(tmp_path / "m", tampered))


def test_a_changed_value_is_found_by_the_digest(full: AdapterManifest, tmp_path: Path) -> None:
    body = body_of(full)
    body["licence"] = "MIT"
    with pytest.raises(ManifestInvalid, match=r"digest says .* content gives .* immutable"):
        AdapterManifest.read(write(tmp_path / "m", body))


def test_a_draft_has_no_digest_and_is_no_version(lora: Path) -> None:
    draft = fakes.contract(lora)
    write(lora, draft.to_json())
    assert AdapterManifest.read_draft(lora) == draft
    with pytest.raises(ManifestInvalid, match=r"draft.*publish"):
        AdapterManifest.read(lora)


def _set(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for key in path[:-1]:
            body = body[key]
        body[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_set("surprise", value=1), "surprise"),
        (_set("weights", "surprise", value=1), "weights.surprise"),
        (_set("prompt", "surprise", value=1), "prompt.surprise"),
        (_set("schema", value=2), "schema"),
        (_set("schema", value="1"), "schema"),
        (lambda body: body.pop("schema"), "schema"),
        (lambda body: body.update(schema_=body.pop("schema")), "schema"),
        (_set("version", value="1"), "version"),
        (_set("version", value=0), "version"),
        (_set("id", value="../x-en-fr"), "id"),
        (_set("id", value={"domain": "../../x", "pair": None}), "id"),
        (_set("pairs", value=["en-fr", "en-fr"]), "twice"),
        (_set("pairs", value=["en-de"]), "en-de"),
        (_set("pairs", value=[]), "pairs"),
        (_set("pairs", value=[{"source": "en", "target": ".."}]), "pairs.0"),
        (_set("domain", value="other"), "domain"),
        (_set("weights", "rank", value="4"), "weights.rank"),
        (_set("weights", "kind", value="dora"), "weights.kind"),
        (_set("weights", "files", value={}), "weights.files"),
        (_set("base", "fingerprint", value="sha256:0"), "base.fingerprint"),
        (_set("prompt", "user", value="nothing"), "prompt.user"),
        (_set("prompt", "stop_token_ids", value=[10**6]), "stop tokens"),
        (_set("decoding", "temperature", value=3), "decoding.temperature"),
        (_set("created", value="yesterday"), "created"),
        (_set("digest", value="sha256:0"), "digest"),
        (_set("licence", value=None), "licence"),
    ],
)  # fmt: skip
def test_a_manifest_that_breaks_the_schema_is_refused_in_one_line(
    full: AdapterManifest, tmp_path: Path, change: Callable[[dict[str, Any]], None], named: str
) -> None:
    body = body_of(full)
    change(body)
    folder = write(tmp_path / "m", body)
    with pytest.raises(ManifestInvalid) as caught:
        AdapterManifest.read(folder)
    assert named in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 10_000, '{"schema": NaN}'])
def test_what_is_no_manifest_at_all_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        AdapterManifest.read(write(tmp_path / "m", text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 3000


def test_all_faults_are_listed_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        Decoding.model_validate({"temperature": -1, "top_p": 9, "x": "y" * 1000})
    line = describe(caught.value)
    assert all(key in line for key in ("temperature", "top_p", "x"))
    assert len(line) < 400


def test_a_folder_without_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid, match=r"manifest\.json: cannot be read \(No such file"):
        AdapterManifest.read(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_is_a_number(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Score(metric="chrF++", value=value, signature="s", test_set="t")


@pytest.mark.parametrize(("tokens", "most"), [(0, 32), (5, 32), (100, 300)])
def test_an_answer_may_be_three_times_the_source_and_not_too_short(tokens: int, most: int) -> None:
    assert Decoding().max_tokens(tokens) == most


def test_hashing_a_folder_without_weights_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match=r"adapter_config\.json"):
        hash_files(tmp_path)


def test_a_manifest_without_a_conversion_is_what_it_was_before_there_was_the_field(
    full: AdapterManifest,
) -> None:
    assert full.training is not None
    assert "conversion" not in body_of(full)["training"]
    lossy = Conversion(way="x", rank=4, error=0.25, error_max=0.5, error_saved=0.25)
    training = full.training.model_copy(update={"conversion": lossy})
    converted = full.model_copy(update={"training": training})
    assert body_of(converted)["training"]["conversion"]["error"] == 0.25
    assert converted.compute_digest() != full.digest


def test_the_digest_of_a_contract_is_the_same_for_ever() -> None:
    """Versions are named by it: whoever changes this number breaks every registry there is."""
    facts = {
        "id": "ui-en-fr",
        "version": 1,
        "created": WHEN,
        "domain": "ui",
        "pairs": ("en-fr",),
        "base": {"name": "tiny", "fingerprint": f"sha256:{'0' * 64}", "vocab_size": 261},
        "prompt": {"chat_template": "{{ messages[0]['content'] }}", "stop_token_ids": [4]},
        "weights": {
            "rank": 4,
            "alpha": 8,
            "target_modules": ("q_proj",),
            "files": {"adapter_config.json": {"sha256": "1" * 64, "size_bytes": 1}},
        },
        "training": {
            "recipe": {"a": 1}, "method": "lora", "seed": 0, "seconds": 1.0, "hardware": "x",
            "versions": {}, "data": (),
        },
        "licence": "Apache-2.0",
    }  # fmt: skip
    manifest = AdapterManifest.model_validate(facts)
    digest = "03b3fa7cd132d970c034cdc3152d092221b25195f2ce06eabb55e6f3c7ca3701"
    assert manifest.compute_digest() == f"sha256:{digest}"

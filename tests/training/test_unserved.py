"""What no server takes as an adapter is trained, saved, loaded and measured as LoRA is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from adapters.base_model import BaseModelRef, read_card
from adapters.errors import FileCorrupt
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.training import tiny
from training.base_models import resolve_base
from training.encode import IGNORED, Encoded
from training.evaluate.generate import Generator
from training.fit.label_loss import can_score_labels_only, score_labels_only
from training.methods.attach import Adapted, attach, load_base
from training.methods.config import Method
from training.methods.load import load
from training.methods.save import save

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

KINDS: dict[str, dict[str, Any]] = {
    "dora": {"rank": 4, "dora": True},
    "adalora": {"kind": "adalora", "rank": 4, "start_rank": 6},
    "loha": {"kind": "loha", "rank": 4},
    "lokr": {"kind": "lokr", "rank": 4, "factor": 4},
    "ia3": {"kind": "ia3"},
    "prefix": {"kind": "prefix", "tokens": 4},
    "prompt": {"kind": "prompt", "tokens": 4, "init_text": "translate"},
    "bottleneck": {"kind": "bottleneck", "size": 8},
    "full": {"kind": "full"},
    "full with embeddings": {"kind": "full", "embeddings": True},
}
STOPS = (fakes.END, fakes.EOS)
TEXTS = ("open", "a much longer message to translate", "x", "save it all", "")


@pytest.fixture(params=["gemma", "llama"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    # Its sliding window of 8 is shorter than every prompt.
    return tiny.write_base(tmp_path / "tiny-base", request.param)


def changed(base: Path, name: str, *, seed: int = 1) -> Adapted:
    """Return the method attached, and moved away from where it began."""
    method: Method = TypeAdapter(Method).validate_python(KINDS[name])
    torch.manual_seed(seed)
    adapted = attach(load_base(base, method), method)
    for parameter in adapted.trainable().values():
        parameter.data += 0.2 * torch.randn_like(parameter)
    adapted.model.eval()
    return adapted


def prompts_of(base: Path) -> list[list[int]]:
    tokenizer = BaseTokenizer.load(base)
    return [fakes.prompt_format().encode(text, tiny.PAIR, tokenizer) for text in TEXTS]


def step_by_step(model: Any, prompt: list[int], limit: int) -> list[int]:
    """Return the greedy answer without batch, padding and our cache; PEFT adds virtual tokens."""
    ids: list[int] = []
    while len(ids) < limit and (not ids or ids[-1] not in STOPS):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([prompt + ids])).logits
        ids.append(int(logits[0, -1].argmax()))
    return ids


def loss_of(adapted: Adapted, row: Encoded) -> float:
    """Return the summed loss of `row` as training computes it."""
    ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
    with torch.no_grad():
        if can_score_labels_only(adapted.base):
            score_labels_only(adapted.base)
            return float(adapted.model(input_ids=ids, labels=labels, summed_loss=True))
        mean = adapted.model(input_ids=ids, labels=labels).loss
    return float(mean) * sum(label != IGNORED for label in row.labels)


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_method_gives_each_row_of_a_batch_what_training_gave_it_alone(
    name: str, base: Path, tmp_path: Path
) -> None:
    adapted, prompts, limits = changed(base, name), prompts_of(base), [3, 9, 14, 6, 1]
    generator = Generator.load(base, {"one": save(adapted, base, tmp_path / "one")})
    expected = [step_by_step(adapted.model, p, n) for p, n in zip(prompts, limits, strict=True)]
    plain = [step_by_step(load(base).model, p, n) for p, n in zip(prompts, limits, strict=True)]
    assert expected != plain
    for batch_size in (2, 64):
        for adapter, wanted in (("one", expected), (None, plain)):
            answers = generator.generate(
                prompts, stop_token_ids=STOPS, max_tokens=limits, adapter=adapter,
                batch_size=batch_size,
            )  # fmt: skip
            assert [list(answer.token_ids) for answer in answers] == wanted


@pytest.mark.parametrize("name", KINDS)
def test_a_targets_log_probability_is_the_loss_that_training_sees(
    name: str, base: Path, tmp_path: Path
) -> None:
    adapted, rows = changed(base, name), tiny.lessons(base)[:3]
    losses = [loss_of(adapted, row) for row in rows]
    starts = [sum(label == IGNORED for label in row.labels) for row in rows]
    prompts = [row.input_ids[:start] for row, start in zip(rows, starts, strict=True)]
    targets = [row.input_ids[start:] for row, start in zip(rows, starts, strict=True)]
    generator = Generator.load(base, {"one": save(adapted, base, tmp_path / "one")})
    found = generator.logprobs(prompts, targets, adapter="one")
    assert found == pytest.approx([-loss for loss in losses], rel=1e-4)
    assert found != pytest.approx(generator.logprobs(prompts, targets), rel=1e-4)


def test_a_prefix_begins_as_if_the_base_had_read_some_words(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = torch.tensor([[9, 40, 77, 12]])
    monkeypatch.setattr(torch, "randint", lambda *_, **__: words)
    method: Method = TypeAdapter(Method).validate_python(KINDS["prefix"])
    adapted = attach(load_base(base, method), method)
    assert len(adapted.trainable()) == 1
    prompt = torch.tensor([prompts_of(base)[0]])
    with torch.no_grad():
        found = adapted.model(input_ids=prompt).logits[0, -1]
        read = load_base(base, method)(input_ids=torch.cat([words, prompt], 1)).logits[0, -1]
    torch.testing.assert_close(found, read, rtol=1e-4, atol=1e-5)


def test_kinds_side_by_side_answer_as_each_does_alone(base: Path, tmp_path: Path) -> None:
    folders = {
        f"a {name}": save(changed(base, name), base, tmp_path / name)
        for name in ("dora", "prefix", "prompt", "bottleneck", "full")
    }
    second = save(changed(base, "prefix", seed=2), base, tmp_path / "second")
    folders["another prefix"] = second
    prompts, limits = prompts_of(base), [6] * len(TEXTS)

    def ids(generator: Generator, adapter: str | None) -> list[tuple[int, ...]]:
        answers = generator.generate(
            prompts, stop_token_ids=STOPS, max_tokens=limits, adapter=adapter
        )
        return [answer.token_ids for answer in answers]

    together = Generator.load(base, folders)
    for name, folder in folders.items():
        assert ids(together, name) == ids(Generator.load(base, {name: folder}), name), name
    assert ids(together, None) == ids(Generator.load(base), None)
    assert len({str(ids(together, name)) for name in (None, *folders)}) == 7


@pytest.mark.parametrize("name", KINDS)
def test_what_is_saved_names_no_path_and_has_the_precision_of_the_base(
    name: str, tmp_path: Path
) -> None:
    base = tiny.write_base(tmp_path / "base-folder", "gemma", dtype=torch.bfloat16)
    folder = save(changed(base, name), base, tmp_path / "saved")
    weights = next(folder.glob("*.safetensors"))
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.bfloat16}
    for file in folder.glob("*.json"):
        assert str(tmp_path) not in file.read_text(encoding="utf-8"), file
        assert "base-folder" not in file.read_text(encoding="utf-8"), file
    assert load(base, folder).model.dtype is torch.bfloat16


@pytest.mark.parametrize("name", ["full", "full with embeddings"])
def test_a_fine_tuned_model_is_a_base_of_its_own(name: str, base: Path, tmp_path: Path) -> None:
    folder = save(changed(base, name), base, tmp_path / "saved")
    assert resolve_base(str(folder), root=tmp_path) == folder
    before, after = BaseModelRef.read(base), BaseModelRef.read(folder)
    assert after.fingerprint != before.fingerprint
    assert after.name == "tiny-finetuned"
    card = read_card(folder)
    assert card["made_from"] == before.model_dump(mode="json")
    assert card["prompt"] == read_card(base)["prompt"]
    assert (folder / "config.json").read_bytes() == (base / "config.json").read_bytes()
    ours, theirs = (load_file(f / "model.safetensors") for f in (folder, base))
    same = {key for key in theirs if torch.equal(ours[key], theirs[key])}
    assert ours.keys() == theirs.keys()
    assert bool(same) is (name == "full")
    assert all("embed" in key or "lm_head" in key for key in same)


def test_a_base_folder_is_left_as_it_was(base: Path, tmp_path: Path) -> None:
    before = {f.name for f in base.iterdir()}
    save(changed(base, "full"), base, tmp_path / "saved")
    assert {f.name for f in base.iterdir() if not f.name.startswith(".")} == before


def test_bottlenecks_of_another_base_are_refused(base: Path, tmp_path: Path) -> None:
    folder = save(changed(base, "bottleneck"), base, tmp_path / "saved")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "BOTTLENECK"
    assert config["base_model_name_or_path"] == "tiny"
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(dict(list(tensors.items())[1:]), folder / "adapter_model.safetensors")
    with pytest.raises(FileCorrupt, match="another base"):
        load(base, folder)

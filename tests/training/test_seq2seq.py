"""Sequence-to-sequence bases: their tokenizers, the fit, and what comes out of it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer

from adapters.errors import BaseModelNotFound, InvalidId, PromptInvalid, RequestInvalid
from adapters.ids import LanguagePair
from tests import fakes
from tests.training import tiny_pairs
from training.fit.result import FitResult
from training.fit.run import fit
from training.fit.schedule import EarlyStopping, Schedule
from training.methods.config import Method
from training.pickled import unpickle
from training.seq2seq.encode import EncodedPair, PairEncoder
from training.seq2seq.family import family_of
from training.seq2seq.generate import PairGenerator, is_whole_model
from training.seq2seq.load import load_pair_model
from training.seq2seq.tokenizer import PairTokenizer
from training.seq2seq.trainer import PairCollator

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

PAIR = LanguagePair("en", "de")
SCHEDULE = Schedule(
    epochs=2, batch_size=8, learning_rate=1e-2, warmup=0.0, evaluate_every=5, save_every=5,
    tokens_per_pass=128,
)  # fmt: skip
FULL: dict[str, Any] = {"kind": "full", "embeddings": True}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4},
    "dora": {"rank": 4, "dora": True},
    "pissa": {"rank": 4, "init": "pissa"},
    "adalora": {"kind": "adalora", "rank": 4, "start_rank": 6},
    "loha": {"kind": "loha", "rank": 4},
    "lokr": {"kind": "lokr", "rank": 4, "factor": 4},
    "ia3": {"kind": "ia3"},
    "prefix": {"kind": "prefix", "tokens": 4},
    "prompt": {"kind": "prompt", "tokens": 4},
    "olora": {"rank": 4, "init": "olora"},
    "corda": {"rank": 4, "init": "corda"},
    "bottleneck": {"kind": "bottleneck", "size": 8},
    "full": FULL,
}
SOURCES = ["open the file now", "save", "close the menu later", "x y", "move the pod here"]


class Text:
    def __init__(self, source: str, target: str) -> None:
        self.source, self.target = source, target


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @lru_cache
    def base(kind: str) -> Path:
        return tiny_pairs.write_base(tmp_path_factory.mktemp(kind) / "base", kind)

    return base


def tokenizer_of(base: Path, template: str = "{text}", pair: LanguagePair = PAIR) -> PairTokenizer:
    family = family_of(base)
    assert family is not None
    return PairTokenizer.load(base, family=family, pair=pair, template=template)


def rows_of(base: Path) -> list[EncodedPair]:
    encoder = PairEncoder(tokenizer_of(base), 64)
    return encoder.encode_all([Text(*pair) for pair in tiny_pairs.PAIRS[:48]])[0]


def train(base: Path, body: dict[str, Any], out: Path, **changes: Any) -> FitResult:
    method: Method = TypeAdapter(Method).validate_python(body)
    rows, resume = rows_of(base), changes.pop("resume", False)
    schedule = SCHEDULE.model_copy(update=changes)
    return fit(rows[:40], rows[40:], base, method, schedule, out, resume=resume)


@pytest.mark.parametrize("kind", tiny_pairs.FAMILIES)
def test_ids_are_those_of_the_bases_own_tokenizer(kind: str, bases: Any) -> None:
    tokenizer, own = tokenizer_of(bases(kind)), AutoTokenizer.from_pretrained(bases(kind))
    own.src_lang, own.tgt_lang = "en_XX", "de_DE"
    source, target = tiny_pairs.PAIRS[7]
    assert tokenizer.encode_source(source) == own(source).input_ids
    assert tokenizer.encode_target(target) == own(text_target=target).input_ids
    assert tokenizer.decode(tokenizer.encode_target(target)) == target


@pytest.mark.parametrize("kind", tiny_pairs.FAMILIES)
def test_what_looks_like_a_control_token_is_text(kind: str, bases: Any) -> None:
    tokenizer = tokenizer_of(bases(kind))
    begins = 0 if tokenizer.forced_bos is None else 1
    for text in ("a </s> b", "</s>", "<pad></s>en_XX", "<s>de_DE</s>"):
        ids = tokenizer.encode_source(text)
        body = ids[begins:-1]
        assert not {tokenizer.eos, tokenizer.pad, tokenizer.forced_bos} & set(body), text
        assert ids[-1] == tokenizer.eos
    with pytest.raises(RequestInvalid, match="lone surrogate"):
        tokenizer.encode_source("\ud800")


def test_a_base_is_told_the_languages(bases: Any) -> None:
    tokenizer = tokenizer_of(bases("marian"), ">>cmn_Hans<< {text}")
    plain = tokenizer_of(bases("marian")).encode_source("open")
    assert tokenizer.encode_source("open")[1:] == plain
    with pytest.raises(PromptInvalid, match=r">>fra<<; it has >>cmn_Hans<<"):
        tokenizer_of(bases("marian"), ">>fra<< {text}")
    with pytest.raises(InvalidId, match="'tlh'"):
        tokenizer_of(bases("mbart"), pair=LanguagePair("en", "tlh"))
    other = tokenizer_of(bases("mbart"), pair=LanguagePair("fr", "en"))
    own = AutoTokenizer.from_pretrained(bases("mbart"))
    codes = own.convert_tokens_to_ids(["fr_XX", "en_XX"])
    assert [other.encode_source("a")[0], other.encode_target("a")[0]] == codes
    asked = tokenizer_of(bases("t5"), "translate {source} to {target}: {text}")
    prefixed = tokenizer_of(bases("t5")).encode_source("translate English to German: open")
    assert asked.encode_source("open") == prefixed


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, "marian") for name in METHODS]
    + [("lora", "mbart"), ("ia3", "mt5"), ("bottleneck", "t5"), ("corda", "t5")],
)
def test_a_method_learns_and_generates_as_it_was_trained(
    name: str, kind: str, bases: Any, tmp_path: Path
) -> None:
    base = bases(kind)
    few = name in ("ia3", "prompt", "prefix")
    changes = {"learning_rate": 0.3} if few else {}
    result = train(base, METHODS[name], tmp_path, **changes)
    assert min(loss for _, loss in result.losses) < result.losses[0][1] - 0.01, result.losses
    assert is_whole_model(result.adapter_folder) == (name == "full")
    tokenizer = tokenizer_of(base)
    generator = PairGenerator.load(base, tokenizer, result.adapter_folder)
    limits = [3, 9, 6, 12, 7]
    answers = generator.generate(SOURCES, max_tokens=limits, batch_size=3)
    for source, limit, answer in zip(SOURCES, limits, answers, strict=True):
        alone = generator.generate([source], max_tokens=[limit])[0]
        assert answer == alone
        assert list(answer.token_ids) == chosen(generator, tokenizer, source, answer.token_ids)
    # What was saved and loaded again is what was trained.
    assert loss_of(generator, rows_of(base)[40:]) == pytest.approx(
        result.dev_losses[-1][1], rel=1e-3
    )
    before = PairGenerator.load(base, tokenizer).generate(SOURCES, max_tokens=limits)
    assert answers != before or name == "ia3"


def loss_of(generator: PairGenerator, rows: list[EncodedPair]) -> float:
    """Return the loss per target token."""
    batch = PairCollator(generator._model.config)(rows)
    labels_BT = batch.pop("labels")
    with torch.inference_mode():
        logits_BTV = generator._model(**batch).logits
    return float(cross_entropy(logits_BTV.flatten(0, 1), labels_BT.flatten(), ignore_index=-100))


def chosen(
    generator: PairGenerator, tokenizer: PairTokenizer, source: str, ids: tuple[int, ...]
) -> list[int]:
    """Return what the model finds best at each place of `ids`, in one pass, as in training."""
    decoder = torch.tensor([[tokenizer.start, *ids[:-1]]])
    encoder = torch.tensor([tokenizer.encode_source(source)])
    with torch.inference_mode():
        logits = generator._model(
            input_ids=encoder, attention_mask=torch.ones_like(encoder), decoder_input_ids=decoder
        ).logits[0]
        logits[:, tokenizer.pad] = -torch.inf
        if tokenizer.forced_bos is not None:
            logits[0, tokenizer.forced_bos] = torch.inf
        return list(map(int, logits.argmax(-1)))


@pytest.mark.parametrize("kind", tiny_pairs.FAMILIES)
def test_the_loss_on_dev_is_that_of_the_models_own_forward(
    kind: str, bases: Any, tmp_path: Path
) -> None:
    base, rows = bases(kind), rows_of(bases(kind))
    still = {"max_steps": 1, "learning_rate": 1e-12, "evaluate_every": 1}
    result = train(base, FULL, tmp_path, **still)
    model = load_pair_model(base).eval()
    total, count = 0.0, 0
    for row in rows[40:]:  # one by one: nothing is padded; with labels only, as the hub says
        with torch.inference_mode():
            loss = model(
                input_ids=torch.tensor([row.source_ids]), labels=torch.tensor([row.target_ids])
            ).loss
        total, count = total + float(loss) * len(row.target_ids), count + len(row.target_ids)
    assert result.dev_losses[-1][1] == pytest.approx(total / count, rel=1e-4)
    assert result.tokens == sum(map(len, batch_of(rows)))


def batch_of(rows: list[EncodedPair]) -> list[EncodedPair]:
    """Return the rows of the first step, in the sampler's order."""
    from training.fit.batches import LengthGrouped

    lengths = [len(row) for row in rows[:40]]
    order = list(LengthGrouped(lengths, SCHEDULE.batch_size, seed=0))
    return [rows[i] for i in order[: SCHEDULE.batch_size]]


def test_a_resumed_fit_ends_where_the_unbroken_one_does(bases: Any, tmp_path: Path) -> None:
    base, body = bases("marian"), METHODS["lora"]
    whole = train(base, body, tmp_path / "whole")
    train(base, body, tmp_path / "parts", max_seconds=1e-9, save_every=1)
    again = train(base, body, tmp_path / "parts", resume=True)
    assert again.steps == whole.steps
    assert again.tokens == whole.tokens
    one, other = (load_file(r.adapter_folder / "adapter_model.safetensors") for r in (whole, again))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-5)


def test_pairs_keep_the_steps_that_were_best_by_loss(bases: Any, tmp_path: Path) -> None:
    rule = EarlyStopping(metric="loss")
    best = {"early_stopping": rule, "evaluate_every": 2, "average_checkpoints": 2}
    result = train(bases("marian"), METHODS["lora"], tmp_path, **best)
    losses = dict(result.dev_losses)
    assert len(losses) > 2
    assert result.kept_steps == tuple(sorted(sorted(losses, key=lambda step: losses[step])[:2]))
    folder = tmp_path / "checkpoints" / "snapshots"
    kept = [load_file(folder / f"{step}.safetensors") for step in result.kept_steps]
    saved = load_file(result.adapter_folder / "adapter_model.safetensors")
    for name, tensor in saved.items():
        parts = [one[name.replace(".weight", ".default.weight")] for one in kept]
        torch.testing.assert_close(tensor, sum(parts) / 2, rtol=1e-5, atol=1e-8)


def test_recomputed_activations_change_nothing(bases: Any, tmp_path: Path) -> None:
    plain, again = (
        train(bases("t5"), METHODS["lora"], tmp_path / str(on), gradient_checkpointing=on)
        for on in (False, True)
    )
    for (_, one), (_, other) in zip(plain.losses, again.losses, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_marians_computed_positions_are_not_trained(bases: Any, tmp_path: Path) -> None:
    result = train(bases("marian"), FULL, tmp_path, max_steps=2)
    before, after = load_pair_model(bases("marian")), load_pair_model(result.adapter_folder)
    changed = {
        name
        for (name, one), other in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert not [name for name in changed if "embed_positions" in name]
    total = sum(p.numel() for n, p in before.named_parameters() if "embed_positions" not in n)
    assert result.trainable_parameters == total
    assert "model.shared.weight" in changed


@pytest.mark.parametrize("kind", ["mt5", "marian"])
def test_a_base_in_half_precision_trains_in_bf16_or_float32(kind: str, tmp_path: Path) -> None:
    bf16 = tiny_pairs.write_base(tmp_path / "bf16", kind, dtype=torch.bfloat16)
    assert load_pair_model(bf16).dtype is torch.bfloat16
    result = train(bf16, METHODS["lora"], tmp_path / "run")
    assert result.losses[-1][1] < result.losses[0][1]
    tensors = load_file(result.adapter_folder / "adapter_model.safetensors").values()
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}
    fp16 = tiny_pairs.write_base(tmp_path / "fp16", kind, dtype=torch.float16)
    assert load_pair_model(fp16).dtype is torch.float32


def test_a_source_longer_than_the_base_reads_is_refused(bases: Any) -> None:
    generator = PairGenerator.load(bases("marian"), tokenizer_of(bases("marian")))
    with pytest.raises(RequestInvalid, match="this base reads at most 64"):
        generator.generate(["open the file now " * 20], max_tokens=[5])
    assert generator.generate(["open"], max_tokens=[500])[0].token_ids  # as far as positions go


def test_pickled_weights_of_the_hub_become_safetensors(tmp_path: Path) -> None:
    base = tiny_pairs.write_base(tmp_path / "base", "marian")
    before = load_pair_model(base).state_dict()
    config = (base / "config.json").read_text()
    (base / "model.safetensors").unlink()
    torch.save(before, base / "pytorch_model.bin")
    unpickle(base)
    assert not list(base.glob("*.bin"))
    assert (base / "config.json").read_text() == config
    for name, tensor in load_pair_model(base).state_dict().items():
        assert torch.equal(tensor, before[name]), name
    fakes.write_json(base / "config.json", {"architectures": ["NobodysModel"]})
    with pytest.raises(BaseModelNotFound, match="'NobodysModel'"):
        unpickle(base)

"""A base and a folder of any kind in, a model ready for evaluation out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache

from adapters.errors import FileCorrupt
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from training.methods.attach import Adapted
from training.methods.bottleneck import attach_bottlenecks, bottlenecks, without_bottlenecks
from training.methods.config import BottleneckMethod
from training.methods.save import BOTTLENECK

_FULL: Final = "FULL"
_PREFIX: Final = "PREFIX_TUNING"
_PROMPT: Final = "PROMPT_TUNING"


@dataclass(frozen=True)
class Loaded:
    """A causal model in the base's precision with what the folders changed in it.

    `model` takes ids or embeddings, a mask and a cache; between `switched(name)` and its end it
    computes as that adapter would have it, `name` None meaning the base alone. Virtual tokens are
    the caller's to put before each row: `embeddings()` or, in the cache, `cache(rows)`.
    """

    model: Any
    kind: str
    tuned: Any = None  # PEFT's model around it, if any

    @property
    def has_base(self) -> bool:
        """Whether the base alone is in there, too."""
        return self.kind != _FULL

    @property
    def prefix(self) -> int:
        """Return the number of virtual tokens that the cache begins with."""
        return self._virtual_tokens if self.kind == _PREFIX else 0

    @property
    def prompt(self) -> int:
        """Return the number of virtual tokens that each row begins with."""
        return self._virtual_tokens if self.kind == _PROMPT else 0

    def embeddings(self) -> Tensor:
        """Return the embeddings of a row's virtual tokens, [prompt, hidden]."""
        found: Tensor = self.tuned.get_prompt(1)[0]
        return found.to(self.model.dtype)

    def cache(self, rows: int, *, virtual: bool) -> DynamicCache:
        """Return the cache to begin with, with the keys and values of virtual tokens, if any."""
        if virtual and self.prefix:
            begun: DynamicCache = self.tuned.get_prompt(rows)
            return begun
        return DynamicCache(config=self.model.config)

    def can_hold(self, folder: Path) -> bool:
        """Whether the adapter in `folder` can be added to this very model."""
        return self.kind == kind_of(folder) and self.kind not in (_FULL, BOTTLENECK)

    def add(self, folder: Path, name: str) -> None:
        """Load one more adapter of the same kind."""
        self.tuned.load_adapter(str(folder), name, autocast_adapter_dtype=False)

    @contextmanager
    def switched(self, name: str | None) -> Iterator[None]:
        """Make the model compute as adapter `name`, or as the base alone."""
        if name is not None:
            # What is training is switched to already, and is not to be touched.
            if self.tuned is not None and self.tuned.active_adapter != name:
                self.tuned.set_adapter(name)
            yield
        elif self.tuned is not None:
            with self.tuned.disable_adapter():
                yield
        else:
            with without_bottlenecks(self.model):
                yield

    @property
    def _virtual_tokens(self) -> int:
        return int(self.tuned.active_peft_config.num_virtual_tokens)


def load(base: Path, folder: Path | None = None, name: str = "default") -> Loaded:
    """Return the model of folder `base` with the adapter in `folder`, or the model in `folder`.

    No adapter is upcast to float32: it computes here as it does when it is served.
    """
    kind = "" if folder is None else kind_of(folder)
    model = _model(folder if folder is not None and kind == _FULL else base)
    if folder is None or kind == _FULL:
        return Loaded(model, kind)
    if kind == BOTTLENECK:
        load_bottlenecks(model, folder)
        return Loaded(model, kind)
    tuned = PeftModel.from_pretrained(model, str(folder), name, autocast_adapter_dtype=False)
    return Loaded(tuned.get_base_model(), kind, tuned.eval())


def around(adapted: Adapted) -> Loaded:
    """Return what is trained, in memory, as `load` would return it from its folder."""
    if not isinstance(adapted.model, PeftModel):
        has_bottlenecks = any(True for _ in bottlenecks(adapted.base))
        return Loaded(adapted.base, BOTTLENECK if has_bottlenecks else _FULL)
    kind: Any = adapted.model.peft_type
    return Loaded(adapted.base, str(kind.value), adapted.model)


def kind_of(folder: Path) -> str:
    """Return PEFT's name of what `folder` holds, BOTTLENECK or FULL. Raises FileCorrupt."""
    try:
        return str(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["peft_type"])
    except FileNotFoundError:
        if (folder / "config.json").is_file():
            return _FULL
        raise FileCorrupt(
            f"{folder}: expected {CONFIG_FILE} or a model's config.json, found neither; "
            "train it again"
        ) from None
    except (KeyError, ValueError) as error:
        raise FileCorrupt(f"{folder / CONFIG_FILE}: no peft_type ({error!r})") from error


def _model(folder: Path) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", local_files_only=True)
    return (model.to("cuda") if torch.cuda.is_available() else model).eval()


def load_bottlenecks(model: Any, folder: Path) -> None:
    """Put the bottleneck adapters in `folder` into `model`. Raises FileCorrupt."""
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    fields = {key: config[key] for key in BottleneckMethod.model_fields if key in config}
    attach_bottlenecks(model, BottleneckMethod(kind="bottleneck", **fields))
    for _, adapter in bottlenecks(model):
        adapter.to(model.config.dtype).eval()
    tensors = load_file(folder / WEIGHTS_FILE)
    wanted = {name for name, p in model.named_parameters() if p.requires_grad}
    if wanted != tensors.keys():
        raise FileCorrupt(
            f"{folder / WEIGHTS_FILE}: expected {len(wanted)} tensors of bottleneck adapters, "
            f"found {len(tensors.keys() & wanted)} of them; was it trained on another base?"
        )
    model.load_state_dict(tensors, strict=False)

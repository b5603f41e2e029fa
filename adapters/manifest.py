"""AdapterManifest: the contract that training writes and serving obeys (schema 1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from adapters.base_model import BaseModelRef
from adapters.bounded_read import read_small
from adapters.errors import FileCorrupt, FileMissing, InvalidId, ManifestInvalid
from adapters.ids import AdapterId, LanguagePair
from adapters.prompt import PromptFormat, TokenId

MANIFEST_FILE: Final = "manifest.json"
_PART_BYTES: Final = 2**19
CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"
SHA256: Final = r"^[0-9a-f]{64}$"
_SHOWN: Final = 60


def _pair(value: object) -> object:
    # Only a string or the type itself: pydantic would build a dataclass from a mapping as well.
    if isinstance(value, LanguagePair):
        return value
    try:
        return LanguagePair.parse(str(value))
    except InvalidId as error:
        raise ValueError(str(error)) from error


def _id(value: object) -> object:
    if isinstance(value, AdapterId):
        return value
    try:
        return AdapterId.parse(str(value))
    except InvalidId as error:
        raise ValueError(str(error)) from error


Pair = Annotated[LanguagePair, BeforeValidator(_pair), PlainSerializer(str)]
Id = Annotated[AdapterId, BeforeValidator(_id), PlainSerializer(str)]


class _Part(BaseModel):
    # NaN and infinity are no JSON: a score that is not a number is a fault of who computed it.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Decoding(_Part):
    """Sampling that is used where a request does not say otherwise."""

    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=2.0)
    max_tokens_per_source_token: float = Field(default=3.0, gt=0.0)
    min_max_tokens: int = Field(default=32, gt=0)

    def max_tokens(self, source_tokens: int) -> int:
        """Return the most tokens an answer may have: long enough to translate, short for loops."""
        return max(self.min_max_tokens, round(self.max_tokens_per_source_token * source_tokens))


class FileHash(_Part):
    """What one file of the adapter must be."""

    sha256: str = Field(pattern=SHA256)
    size_bytes: int = Field(ge=0)


class Weights(_Part):
    """What the adapter's tensors are."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(gt=0)
    alpha: float = Field(gt=0)
    target_modules: tuple[str, ...] = Field(min_length=1)
    files: dict[str, FileHash] = Field(min_length=1)


class DataSource(_Part):
    """One body of text that the adapter was trained on."""

    name: str
    digest: str
    licence: str
    segments: int = Field(ge=0)


class Conversion(_Part):
    """What was lost where the weights are not what was trained but the LoRA that stands for it.

    Relative Frobenius errors of the change of all weights: `error` before rounding to the base's
    precision, `error_saved` after it; `error_max` is the worst module's, before. `logit_error` is
    the mean KL divergence, in nats a position of some real rows, of the LoRA from the method
    itself; `base_logit_error` that of the base without either, as a yardstick.
    """

    way: str
    rank: int = Field(gt=0)
    error: float = Field(ge=0)
    error_max: float = Field(ge=0)
    error_saved: float = Field(ge=0)
    logit_error: float | None = None
    base_logit_error: float | None = None


class Training(_Part):
    """How the adapter was made; `recipe` is the recipe's own text, resolved."""

    recipe: dict[str, Any]
    method: str
    seed: int
    seconds: float = Field(ge=0)
    hardware: str
    versions: dict[str, str]
    data: tuple[DataSource, ...]
    conversion: Conversion | None = None

    @model_serializer(mode="wrap")
    def _without_no_conversion(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The field came later: manifests without it keep their text, and so their digest.
        body: dict[str, Any] = dump(self)
        return {k: v for k, v in body.items() if k != "conversion" or v is not None}


class Score(_Part):
    """One figure with all that is needed to reproduce it."""

    metric: str
    value: float
    ci95: tuple[float, float] | None = None
    signature: str
    test_set: str
    base_value: float | None = None
    p_value: float | None = Field(default=None, ge=0, le=1)


class Golden(_Part):
    """The begin of an answer that this adapter must give again, asked in its first pair.

    token_ids follow the source's prompt; logprob is their sum, in nats. Servers ask the first.
    """

    source: str
    token_ids: tuple[TokenId, ...] = Field(min_length=1)
    logprob: float


class Check(_Part):
    """One question of the gate, and what was found."""

    name: str
    passed: bool
    detail: str


class Gate(_Part):
    """Whether the adapter beat its base and broke nothing; `reasons` are against it, or for it."""

    passed: bool
    forced: bool = False
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    @model_serializer(mode="wrap")
    def _without_no_checks(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The fields came later: manifests without them keep their text, and so their digest.
        body: dict[str, Any] = dump(self)
        return {k: v for k, v in body.items() if k not in {"warnings", "checks"} or v}


class AdapterManifest(_Part):
    """The contract of one immutable version of an adapter."""

    model_config = ConfigDict(populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    id: Id
    version: int = Field(gt=0)
    created: datetime
    domain: str
    pairs: tuple[Pair, ...] = Field(min_length=1)
    task: str = "translation"
    base: BaseModelRef
    prompt: PromptFormat
    decoding: Decoding = Decoding()
    weights: Weights
    training: Training | None = None
    scores: tuple[Score, ...] = ()
    golden: tuple[Golden, ...] = ()
    gate: Gate | None = None
    licence: str
    limitations: str = ""
    digest: str = Field(default="", pattern=r"^(sha256:[0-9a-f]{64})?$")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.domain != self.id.domain:
            raise ValueError(f"domain is {self.domain!r}, the id {self.id} says {self.id.domain!r}")
        if len(set(self.pairs)) != len(self.pairs):
            raise ValueError("a pair is named twice")
        if self.id.pair is not None and self.pairs != (self.id.pair,):
            found = ", ".join(map(str, self.pairs))
            raise ValueError(f"the id {self.id} is of {self.id.pair}, pairs says {found}")
        beyond = [t for t in self.prompt.stop_token_ids if t >= self.base.vocab_size]
        if beyond:
            raise ValueError(f"stop tokens {beyond} lie beyond the base's {self.base.vocab_size}")
        return self

    @property
    def digest12(self) -> str:
        """The first 12 hex digits of the digest: in folder names and vLLM's adapter names."""
        return self.digest.removeprefix("sha256:")[:12]

    def compute_digest(self) -> str:
        """Return `sha256:…` over the files' hashes and all of the contract that decides answers.

        `version` and `created` are left out: equal content published twice is the same version.
        """
        body = self.model_dump(mode="json", by_alias=True, exclude={"digest", "version", "created"})
        files = sorted((name, file.sha256) for name, file in self.weights.files.items())
        canonical = json.dumps([files, body], sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"

    def to_json(self) -> str:
        """Return the text of manifest.json."""
        body = self.model_dump(mode="json", by_alias=True)
        return json.dumps(body, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the manifest in `folder`, its own digest checked. Raises ManifestInvalid."""
        manifest = cls.read_draft(folder)
        if not manifest.digest:
            raise ManifestInvalid(
                f"{folder / MANIFEST_FILE}: has no digest, so it is a draft; "
                "`dragoman adapters publish` makes a version of it"
            )
        return manifest

    @classmethod
    def read_draft(cls, folder: Path) -> Self:
        """Return the manifest in `folder`, whose digest may be empty. Raises ManifestInvalid."""
        path = folder / MANIFEST_FILE
        try:
            manifest = cls.model_validate_json(
                read_small(path), strict=True, by_alias=True, by_name=False
            )
        except OSError as error:
            raise ManifestInvalid(f"{path}: cannot be read ({error.strerror})") from error
        except ValidationError as error:
            raise ManifestInvalid(f"{path}: {describe(error)}") from error
        if "schema_" not in manifest.model_fields_set:
            raise ManifestInvalid(f'{path}: schema: expected "schema": 1, found none')
        expected = manifest.compute_digest()
        if manifest.digest not in ("", expected):
            raise ManifestInvalid(
                f"{path}: digest says {manifest.digest}, content gives {expected}; "
                "versions are immutable: restore the file, or publish a new version"
            )
        return manifest


def describe(error: ValidationError) -> str:
    """Return every fault of a pydantic error in one line: where, what, and what was found."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg']}"
        + ("" if fault["type"] == "missing" else f" (found {_found(fault['input'])})")
        for fault in error.errors(include_url=False)
    )


def _found(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"


def no_rest() -> None:
    """Rest not at all: what long work calls in between, unless somebody needs the cores."""


def hash_files(
    folder: Path,
    names: tuple[str, ...] = (CONFIG_FILE, WEIGHTS_FILE),
    *,
    rest: Callable[[], None] = no_rest,
) -> dict[str, FileHash]:
    """Return hash and size of the files in `folder` that a version consists of.

    Raises FileMissing, FileCorrupt. Calls `rest` after each part.
    """
    hashes = {}
    for name in names:
        path = folder / name
        try:
            with path.open("rb") as file:
                digest = hashlib.sha256()
                while part := file.read(_PART_BYTES):
                    digest.update(part)
                    rest()
                hashes[name] = FileHash(sha256=digest.hexdigest(), size_bytes=file.tell())
        except FileNotFoundError as error:
            raise FileMissing(f"{path}: no such file; expected a PEFT adapter folder") from error
        except OSError as error:
            raise FileCorrupt(f"{path}: cannot be read ({error.strerror})") from error
    return hashes

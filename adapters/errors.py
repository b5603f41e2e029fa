"""Every error that a user of Dragoman can meet.

DragomanError
├── InvalidId                 an adapter id, language pair or selector that cannot be read
├── PromptInvalid             a prompt format that cannot be rendered
├── BaseModelError
│   ├── BaseModelNotFound     no such base model here
│   └── BaseModelMismatch     the adapter belongs to other weights
├── AdapterRejected           an adapter folder that must not be served
│   ├── FileMissing           a file named by the manifest is absent
│   ├── FileCorrupt           a file differs from the manifest's hash, or cannot be read
│   ├── UnsafeFile            pickle weights, links, paths that leave the folder
│   ├── UnsupportedAdapter    a kind of adapter that vLLM cannot load as it is
│   ├── RankTooLarge          rank above the server's limit
│   ├── ShapeMismatch         tensors that do not fit the base model
│   ├── NonFiniteWeights      NaN or infinity in the weights
│   ├── ConversionTooLossy    no LoRA of the rank is near enough to what was trained
│   └── GoldenMismatch        weights that do not give the answer their manifest promises
├── ManifestInvalid           manifest.json breaks its schema
├── RegistryError
│   ├── AdapterNotFound       no such id, version or alias
│   └── AliasInvalid          an alias that may not be set like this
├── RecipeInvalid             a training recipe with errors, all of them listed
├── DataInvalid               a data file that cannot be read, with file and line
├── SynthesisFailed           an engine that makes no translations, or none that can be kept
├── TrainingFailed            a run that cannot go on
│   └── OutOfMemory           a run that needs more memory than there is
├── NotServable               a method or base whose result no server has beside others
├── HubUnavailable            a hub that cannot be reached, or refuses
├── ScenarioInvalid           a load test's scenario with errors, all of them listed
├── LoadTestFailed            a load test that cannot begin, or cannot go on
├── ReportInvalid             a load test's report that cannot be read or compared
├── MetricFailed              a metric's own command that fails, or writes no scores
├── GateFailed                a candidate that did not beat the base
├── SettingsInvalid           server settings with errors, all of them listed
├── RequestInvalid            a request that contradicts the adapter's contract
│   ├── LimitExceeded         a request that asks for more than any may
│   ├── BodyTooLarge          a body above the limit
│   └── BodyTooSlow           a body that did not come in time
├── KeyInvalid                a request without a key, or with one that is not known
├── AdminOnly                 a route that needs an admin key
├── AllowanceUsed             a key that has had, for now, what it may have
│   ├── RateLimited           too much within a minute
│   ├── TooManyAtOnce         too many requests at a time
│   └── QuotaExceeded         all of its quota
├── DeadlineExceeded          an answer that took longer than any may
├── StartRefused              the server would run without one of its safeguards
└── Unavailable               a request that this server cannot answer now; others, or later, can
    ├── EngineDead            the engine died under it
    ├── Draining              the server ends
    ├── AdaptersFull          all of the engine's memory for adapters is in use
    ├── Overloaded            more work is waiting than can be done soon
    └── UsageUnavailable      the store of usage cannot be reached, and the key has a quota

Messages say what is wrong, expected against found, and the next step. `code` is stable: clients
and scripts may match on it.
"""

from __future__ import annotations

from typing import ClassVar


class DragomanError(Exception):
    """Base of all errors meant for a user; `code` is stable, `http_status` is its answer."""

    code: ClassVar[str] = "dragoman_error"
    http_status: ClassVar[int] = 500


class InvalidId(DragomanError):
    """An adapter id, language pair or selector that cannot be read."""

    code = "invalid_id"
    http_status = 404


class PromptInvalid(DragomanError):
    """A prompt format that cannot be rendered."""

    code = "prompt_invalid"


class BaseModelError(DragomanError):
    """Something about a base model."""

    code = "base_model_error"


class BaseModelNotFound(BaseModelError):
    """No such base model on this machine."""

    code = "base_model_not_found"


class BaseModelMismatch(BaseModelError):
    """The adapter was trained on other weights than the ones at hand."""

    code = "base_model_mismatch"
    http_status = 409


class AdapterRejected(DragomanError):
    """An adapter folder that must not be served."""

    code = "adapter_rejected"
    http_status = 409


class FileMissing(AdapterRejected):
    """A file that the adapter needs is absent."""

    code = "file_missing"


class FileCorrupt(AdapterRejected):
    """A file differs from the manifest's hash, or cannot be read."""

    code = "file_corrupt"


class UnsafeFile(AdapterRejected):
    """Pickle weights, links, or paths that leave the adapter's folder."""

    code = "unsafe_file"


class UnsupportedAdapter(AdapterRejected):
    """A kind of adapter that vLLM cannot load as it is."""

    code = "unsupported_adapter"


class RankTooLarge(AdapterRejected):
    """A LoRA rank above the limit."""

    code = "rank_too_large"


class ShapeMismatch(AdapterRejected):
    """Tensors that do not fit the base model."""

    code = "shape_mismatch"


class NonFiniteWeights(AdapterRejected):
    """NaN or infinity in the weights."""

    code = "non_finite_weights"


class ConversionTooLossy(AdapterRejected):
    """No LoRA of the rank is near enough to what was trained."""

    code = "conversion_too_lossy"


class GoldenMismatch(AdapterRejected):
    """Weights that do not give the answer that their manifest promises."""

    code = "golden_mismatch"


class ManifestInvalid(DragomanError):
    """manifest.json breaks its schema."""

    code = "manifest_invalid"
    http_status = 409


class RegistryError(DragomanError):
    """Something about the registry: it cannot be read or written now."""

    code = "registry_error"
    http_status = 503


class AdapterNotFound(RegistryError):
    """No such id, version or alias."""

    code = "adapter_not_found"
    http_status = 404


class AliasInvalid(RegistryError):
    """An alias that may not be set like this."""

    code = "alias_invalid"


class RecipeInvalid(DragomanError):
    """A training recipe with errors, all of them listed."""

    code = "recipe_invalid"


class DataInvalid(DragomanError):
    """A data file that cannot be read, with file and line."""

    code = "data_invalid"


class SynthesisFailed(DragomanError):
    """An engine that makes no translations, or none that can be kept."""

    code = "synthesis_failed"


class TrainingFailed(DragomanError):
    """A run that cannot go on."""

    code = "training_failed"


class NotServable(DragomanError):
    """A method or base whose result cannot be served beside other adapters."""

    code = "not_servable"


class HubUnavailable(DragomanError):
    """A hub that cannot be reached, or refuses."""

    code = "hub_unavailable"


class OutOfMemory(TrainingFailed):
    """A run that needs more memory than there is."""

    code = "out_of_memory"


class ScenarioInvalid(DragomanError):
    """A load test's scenario with errors, all of them listed."""

    code = "scenario_invalid"


class LoadTestFailed(DragomanError):
    """A load test that cannot begin, or cannot go on."""

    code = "load_test_failed"


class ReportInvalid(DragomanError):
    """A load test's report that cannot be read or compared."""

    code = "report_invalid"


class MetricFailed(DragomanError):
    """A metric's own command that cannot be run, fails, or writes no scores."""

    code = "metric_failed"


class GateFailed(DragomanError):
    """A candidate that did not beat the base."""

    code = "gate_failed"


class SettingsInvalid(DragomanError):
    """Server settings with errors, all of them listed."""

    code = "settings_invalid"


class RequestInvalid(DragomanError):
    """A request that contradicts the adapter's contract."""

    code = "request_invalid"
    http_status = 422


class LimitExceeded(RequestInvalid):
    """A request that asks for more than any request may."""

    code = "limit_exceeded"


class BodyTooLarge(RequestInvalid):
    """A body above the limit."""

    code = "body_too_large"
    http_status = 413


class BodyTooSlow(RequestInvalid):
    """A body that did not come in time."""

    code = "body_too_slow"
    http_status = 408


class KeyInvalid(DragomanError):
    """A request without a key, or with one that is not known."""

    code = "key_invalid"
    http_status = 401


class AdminOnly(DragomanError):
    """A route that needs an admin key."""

    code = "admin_only"
    http_status = 403


class AllowanceUsed(DragomanError):
    """A key that has had, for now, what it may have; `retry_after_s` says for how long."""

    code = "allowance_used"
    http_status = 429

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(AllowanceUsed):
    """Too much within a minute."""

    code = "rate_limited"


class TooManyAtOnce(AllowanceUsed):
    """Too many requests at a time."""

    code = "too_many_at_once"


class QuotaExceeded(AllowanceUsed):
    """All of a key's quota is used, or less is left than the request needs."""

    code = "quota_exceeded"


class DeadlineExceeded(DragomanError):
    """An answer that took longer than any may."""

    code = "deadline_exceeded"
    http_status = 504


class StartRefused(DragomanError):
    """The server would run without one of its safeguards."""

    code = "start_refused"


class Unavailable(DragomanError):
    """A request that this server cannot answer now; another server can, or this one later."""

    code = "unavailable"
    http_status = 503


class EngineDead(Unavailable):
    """The engine died before the request was answered."""

    code = "engine_dead"

    def __init__(self) -> None:
        super().__init__("the engine died before it had answered; it is started again: ask again")


class Draining(Unavailable):
    """The server ends; what it had admitted may finish."""

    code = "draining"

    def __init__(self) -> None:
        super().__init__("this server is about to end; ask another one, or again in a moment")


class AdaptersFull(Unavailable):
    """All of the engine's memory for adapters is in use now; later there may be room."""

    code = "adapters_full"


class Overloaded(Unavailable):
    """More work is waiting than can be done soon; `retry_after_s` says when there is room."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UsageUnavailable(Unavailable):
    """The store of usage cannot be reached, and the key has a quota."""

    code = "usage_unavailable"

"""One run, phase by phase: data, fit, evaluate, gate, report, publish."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.base_model import BaseModelRef, read_card
from adapters.console import note, progress
from adapters.errors import AdapterNotFound
from adapters.ids import AdapterRef
from adapters.locations import bases_root, cache_root
from adapters.registry import Published, Registry
from adapters.tokenizer import BaseTokenizer
from training import prepare
from training.assess import Assessed, Systems, examples_from, name_of_test_set, steps_of
from training.base_models import resolve_base
from training.candidate import Candidate, Row
from training.encode import Encoder
from training.evaluate.report import write_report
from training.evaluate.scores import Evaluation, score
from training.fit.result import FitProgress, FitResult
from training.gate import judge
from training.publish import publish
from training.recipe import Recipe
from training.run_folder import RunFolder, open_run
from training.seq2seq.ask import encoder_for, template_for
from training.seq2seq.assess import PairSystems
from training.seq2seq.family import Family, family_of
from training.translate.note import ModelNote

if TYPE_CHECKING:
    from training.seq2seq.encode import PairEncoder


@dataclass(frozen=True)
class Options:
    """How a run goes on and what becomes of its adapter."""

    out: Path | None = None
    resume: bool = False
    publish: bool = False
    force: bool = False


@dataclass(frozen=True)
class Outcome:
    """The summary of a run (also in summary.json), its folder, and the version, if published."""

    summary: dict[str, Any]
    folder: Path
    published: Published | None


@dataclass(frozen=True)
class _Run:
    recipe: Recipe
    base: Path
    reference: BaseModelRef
    folder: RunFolder
    options: Options
    family: Family | None  # None: a causal base


def default_folder(recipe: Recipe) -> Path:
    """Return where a run of this recipe keeps its files: the same recipe, the same folder."""
    return cache_root() / "runs" / f"{recipe.id}-{recipe.digest[:8]}"


def run(recipe: Recipe, registry: Registry, options: Options) -> Outcome:
    """Train, measure and report; publish if asked to. Raises GateFailed, TrainingFailed, …."""
    base = resolve_base(recipe.base, root=bases_root(), say=note)
    reference, family = BaseModelRef.read(base), family_of(base)
    identity = {
        "recipe": recipe.digest,
        "folder": str(recipe.folder),  # its relative paths start there
        "base": reference.fingerprint,
    }
    root = options.out or default_folder(recipe)
    with open_run(root, identity, resume=options.resume) as folder:
        candidate = _candidate(
            _Run(recipe, base, reference, folder, options, family),
            _current(registry, recipe, reference),
        )
        write_report(candidate, folder.adapter)
        summary = candidate.summary()
        folder.finish("summary", summary)
        published = None
        if options.publish:
            published = publish(candidate, registry, force=options.force)
        return Outcome(summary, root, published)


def _candidate(this: _Run, current: Published | None) -> Candidate:
    data = _data(this)
    fitted = _fit(this, data)
    _note(this)
    assessed, evaluation = _evaluate(this, data, fitted, current)
    gate = judge(evaluation, this.recipe.gate)
    if this.options.force and not gate.passed:
        gate = gate.model_copy(update={"forced": True})
    outputs = assessed.outputs
    columns = (outputs.sources, outputs.references, outputs.candidate, outputs.base)
    return Candidate(
        recipe=this.recipe,
        base=this.reference,
        base_folder=this.base,
        base_licence=str(read_card(this.base).get("licence") or ""),
        data=data.report,
        fit=fitted,
        evaluation=evaluation,
        base_asked=_base_asked(this, assessed),
        rows=tuple(Row(*texts) for texts in zip(*columns, strict=True)),
        golden=assessed.golden,
        gate=gate,
        hardware=hardware(),
    )


def _data(this: _Run) -> prepare.Prepared:
    if (this.folder.data / prepare.REPORT_FILE).is_file():
        note("data: done before")
        return prepare.load(this.folder.data)
    data = prepare.prepare(this.recipe)
    prepare.write(data, this.folder.data)
    note(f"data: {len(data.train)} train, {len(data.dev)} dev, {len(data.test)} test segments")
    for line in data.report.lost():
        note(f"data: {line}")
    return data


def _fit(this: _Run, data: prepare.Prepared) -> FitResult:
    if (body := this.folder.result("fit")) is not None and this.folder.adapter.is_dir():
        note("fit: done before")
        return FitResult(**{**body, "adapter_folder": this.folder.adapter})
    from training.fit.run import fit

    recipe = this.recipe
    encoder = _encoder(this)
    train, report = encoder.encode_all(data.train)
    dev, _ = encoder.encode_all(data.dev)
    if report.too_long:
        note(f"fit: {report.too_long} pairs are over {encoder.max_length} tokens, left out")
    with _steps("fit") as on_progress:
        fitted = fit(
            train,
            dev,
            this.base,
            recipe.method,
            recipe.schedule,
            this.folder.root,
            seed=recipe.seed,
            resume=this.options.resume,
            on_progress=on_progress,
        )
    body = dataclasses.asdict(fitted) | {"adapter_folder": str(fitted.adapter_folder)}
    this.folder.finish("fit", body)
    _release_memory()
    note(f"fit: {fitted.steps} steps in {fitted.seconds:.0f} s, {fitted.tok_s:.0f} tok/s")
    return fitted


def _note(this: _Run) -> None:
    """Write down what `dragoman translate` must know to run the folder."""
    recipe, family = this.recipe, this.family
    ModelNote(
        id=str(recipe.id),
        pair=recipe.pair,
        base=str(this.base.resolve()),
        family=family,
        template=template_for(recipe.prompt, family) if family else "{text}",
        prompt=None if family else recipe.prompt.complete(this.base),
        decoding=recipe.decoding,
    ).write(this.folder.root)


def _encoder(this: _Run) -> Encoder | PairEncoder:
    recipe = this.recipe
    if this.family is not None:
        return encoder_for(recipe, this.base, this.family)
    return Encoder(
        prompt=recipe.prompt.complete(this.base),
        pair=recipe.pair,
        tokenizer=BaseTokenizer.load(this.base),
        max_length=recipe.schedule.max_length,
    )


def _evaluate(
    this: _Run, data: prepare.Prepared, fitted: FitResult, current: Published | None
) -> tuple[Assessed, Evaluation]:
    recipe = this.recipe
    test = data.test[: recipe.evaluate.limit]
    against = current.manifest.digest if current else None
    body = this.folder.result("outputs")
    if body is not None and body["against"] == against:
        note("evaluate: translated before")
        assessed = Assessed.from_json(body)
    elif this.family is not None:
        with progress("evaluate", total=2 * len(test)) as advance:
            pairs = PairSystems(recipe, this.base, this.family, fitted.adapter_folder, advance)
            assessed = pairs.assess(test)
        this.folder.finish("outputs", {**assessed.to_json(), "against": against})
    else:
        examples = examples_from(data.train, recipe.evaluate.shots)
        total = steps_of(test=len(test), dev=len(data.dev), current=current is not None)
        with progress("evaluate", total=total) as advance:
            systems = Systems(recipe, this.base, fitted.adapter_folder, current, advance)
            assessed = systems.assess(test, data.dev, examples)
        this.folder.finish("outputs", {**assessed.to_json(), "against": against})
    evaluation = score(
        assessed.outputs, language=recipe.pair.target, test_set=name_of_test_set(recipe, test)
    )
    return assessed, evaluation


def _base_asked(this: _Run, assessed: Assessed) -> str:
    if this.family is not None:
        return assessed.base_asked
    return f"{this.recipe.evaluate.shots} examples {assessed.base_asked}"


def _current(registry: Registry, recipe: Recipe, base: BaseModelRef) -> Published | None:
    try:
        current = registry.resolve(AdapterRef(recipe.id))
    except AdapterNotFound:
        return None
    if current.manifest.base.fingerprint != base.fingerprint:
        note(f"{recipe.id}: the version in use has another base, so it is not compared")
        return None
    return current


@contextmanager
def _steps(description: str) -> Iterator[Callable[[FitProgress], None]]:
    with ExitStack() as stack:
        advance: Callable[[int], None] | None = None
        shown = 0

        def on_progress(where: FitProgress) -> None:
            nonlocal advance, shown
            if advance is None:  # only now is the number of steps known
                advance = stack.enter_context(progress(description, total=where.total_steps))
            advance(where.step - shown)
            shown = where.step

        yield on_progress


def _release_memory() -> None:
    # tcmalloc keeps what training freed (5 GB) while the evaluation takes new pages.
    gc.collect()
    release = getattr(ctypes.CDLL(None), "MallocExtension_ReleaseFreeMemory", None)
    if release is not None:
        release()


def hardware() -> str:
    """Return the processor that this runs on, for the record."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU cores ({_cpu_name()})"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

"""One run, phase by phase: data, fit, evaluate, gate, report, publish."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from training.corpus.segment import Segment
from training.encode import Encoder
from training.evaluate.report import write_report
from training.evaluate.scores import Evaluation, score
from training.fit import ranks
from training.fit.dev_texts import DevTexts
from training.fit.result import FitResult, OnProgress
from training.gate import judge
from training.progress import fit_progress
from training.publish import publish
from training.recipe import Recipe
from training.run_folder import RunFolder, open_run
from training.run_log import RunLog
from training.run_records import hardware, write_records


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

    @property
    def log(self) -> RunLog:
        return RunLog(self.folder.root)


def default_folder(recipe: Recipe) -> Path:
    """Return where a run of this recipe keeps its files: the same recipe, the same folder."""
    return cache_root() / "runs" / f"{recipe.id}-{recipe.digest[:8]}"


def run(recipe: Recipe, registry: Registry, options: Options) -> Outcome:
    """Train, measure and report; publish if asked to. Raises GateFailed, TrainingFailed, …."""
    base = resolve_base(recipe.base, root=bases_root(), say=note)
    reference = BaseModelRef.read(base)
    identity = {
        "recipe": recipe.digest,
        "folder": str(recipe.folder),  # its relative paths start there
        "base": reference.fingerprint,
    }
    root = options.out or default_folder(recipe)
    with open_run(root, identity, resume=options.resume) as folder:
        write_records(recipe, reference, root)
        candidate = _candidate(
            _Run(recipe, base, reference, folder, options), _current(registry, recipe, reference)
        )
        write_report(candidate, folder.adapter)
        summary = candidate.summary()
        folder.finish("summary", summary)
        published = None
        if options.publish:
            published = publish(candidate, registry, force=options.force)
        return Outcome(summary, root, published)


def follow(recipe: Recipe, options: Options) -> None:
    """Fit with the first of several processes, which does everything else by `run`."""
    wanted: bool = ranks.from_first(None)  # by now the first has made base and data
    if wanted:
        base = resolve_base(recipe.base, root=bases_root(), say=lambda _: None)
        folder = RunFolder(options.out or default_folder(recipe))
        here = _Run(recipe, base, BaseModelRef.read(base), folder, options)
        _fit_on(here, prepare.load(folder.data), lambda _: None)


def _candidate(this: _Run, current: Published | None) -> Candidate:
    data = _data(this)
    fitted = _fit(this, data)
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
        base_asked=f"{this.recipe.evaluate.shots} examples {assessed.base_asked}",
        rows=tuple(Row(*texts) for texts in zip(*columns, strict=True)),
        golden=assessed.golden,
        gate=gate,
        hardware=hardware(),
    )


def _data(this: _Run) -> prepare.Prepared:
    if (this.folder.data / prepare.REPORT_FILE).is_file():
        this.log.note("data: done before")
        return prepare.load(this.folder.data)
    data = prepare.prepare(this.recipe)
    prepare.write(data, this.folder.data)
    this.log.note(
        f"data: {len(data.train)} train, {len(data.dev)} dev, {len(data.test)} test segments"
    )
    return data


def _fit(this: _Run, data: prepare.Prepared) -> FitResult:
    body = this.folder.result("fit") if this.folder.adapter.is_dir() else None
    ranks.from_first(body is None)
    if body is not None:
        this.log.note("fit: done before")
        return FitResult(**{**body, "adapter_folder": this.folder.adapter})
    with fit_progress() as on_progress:
        fitted = _fit_on(this, data, on_progress)
    body = dataclasses.asdict(fitted) | {"adapter_folder": str(fitted.adapter_folder)}
    this.folder.finish("fit", body)
    _release_memory()
    this.log.note(f"fit: {fitted.steps} steps in {fitted.seconds:.0f} s, {fitted.tok_s:.0f} tok/s")
    return fitted


def _fit_on(this: _Run, data: prepare.Prepared, on_progress: OnProgress) -> FitResult:
    from training.fit.run import fit

    recipe = this.recipe
    encoder = Encoder(
        prompt=recipe.prompt.complete(this.base),
        pair=recipe.pair,
        tokenizer=BaseTokenizer.load(this.base),
        max_length=recipe.schedule.max_length,
    )
    train, report = encoder.encode_all(data.train)
    dev, _ = encoder.encode_all(data.dev)
    if report.too_long and ranks.rank() == 0:
        longest = recipe.schedule.max_length
        this.log.note(f"fit: {report.too_long} pairs are over {longest} tokens, left out")
    return fit(
        train,
        dev,
        this.base,
        recipe.method,
        recipe.schedule,
        this.folder.root,
        seed=recipe.seed,
        resume=this.options.resume,
        dev_texts=_dev_texts(this, encoder, data.dev),
        on_progress=on_progress,
    )


def _dev_texts(this: _Run, encoder: Encoder, dev: Sequence[Segment]) -> DevTexts | None:
    recipe = this.recipe
    rule = recipe.schedule.early_stopping
    if rule is None or rule.metric != "chrf" or not dev:
        return None
    shown, tokenizer = dev[: rule.segments], encoder.tokenizer
    return DevTexts(
        prompts=[encoder.prompt.encode(s.source, encoder.pair, tokenizer) for s in shown],
        max_tokens=[
            recipe.decoding.max_tokens(len(tokenizer.encode_text(s.source))) for s in shown
        ],
        references=[s.target for s in shown],
        stop_token_ids=encoder.prompt.stop_token_ids,
        tokenizer=BaseTokenizer.load(this.base),
        batch_size=recipe.evaluate.batch_size,
    )


def _evaluate(
    this: _Run, data: prepare.Prepared, fitted: FitResult, current: Published | None
) -> tuple[Assessed, Evaluation]:
    recipe = this.recipe
    test = data.test[: recipe.evaluate.segments]
    against = current.manifest.digest if current else None
    body = this.folder.result("outputs")
    if body is not None and body["against"] == against:
        this.log.note("evaluate: translated before")
        assessed = Assessed.from_json(body)
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


def _current(registry: Registry, recipe: Recipe, base: BaseModelRef) -> Published | None:
    try:
        current = registry.resolve(AdapterRef(recipe.id))
    except AdapterNotFound:
        return None
    if current.manifest.base.fingerprint != base.fingerprint:
        note(f"{recipe.id}: the version in use has another base, so it is not compared")
        return None
    return current


def _release_memory() -> None:
    # tcmalloc keeps what training freed (5 GB) while the evaluation takes new pages.
    gc.collect()
    release = getattr(ctypes.CDLL(None), "MallocExtension_ReleaseFreeMemory", None)
    if release is not None:
        release()

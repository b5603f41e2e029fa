"""One run, phase by phase: data, fit, evaluate, gate, report, publish."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.base_model import BaseModelRef, read_card, read_config
from adapters.console import note, progress
from adapters.errors import AdapterNotFound, NotServable
from adapters.ids import AdapterRef, LanguagePair
from adapters.locations import bases_root, cache_root
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from adapters.registry import Published, Registry
from training import prepare
from training.assess import Assessed, HeldOut, Systems
from training.base_models import resolve_base
from training.build.report import REPORT_FILE
from training.candidate import Candidate
from training.corpus.source import digest_of
from training.elsewhere import Kept, OtherText, read_elsewhere
from training.evaluate.report import write_report
from training.evaluate.scores import mean_over_base
from training.fit import ranks
from training.fit.refusal import refuse
from training.fit.result import FitResult
from training.fit_phase import fit_phase, fit_together, release_memory
from training.gate import Findings, judge
from training.hardware import hardware
from training.measure import assess_all, held_out, measured, steps_over
from training.methods.conversion import judged
from training.methods.served import Way, how_served
from training.objective import PreferenceObjective
from training.objectives.prefer import with_preferences
from training.publish import publish
from training.recipe import Recipe
from training.rows import check_pair_recipe
from training.run import Options, Run
from training.run_folder import RunFolder, open_run
from training.run_records import write_records
from training.seq2seq.ask import template_for
from training.seq2seq.assess import PairSystems
from training.seq2seq.family import family_of
from training.start import find_start
from training.text_run import measure_text, refuse_to_publish, summary_of
from training.translate.note import ModelNote


@dataclass(frozen=True)
class Outcome:
    """The summary of a run (also in summary.json), its folder, and the version, if published."""

    summary: dict[str, Any]
    folder: Path
    published: Published | None


def default_folder(recipe: Recipe) -> Path:
    """Return where a run of this recipe keeps its files: the same recipe, the same folder."""
    return cache_root() / "runs" / f"{recipe.id}-{recipe.digest[:8]}"


def run(recipe: Recipe, registry: Registry, options: Options) -> Outcome:
    """Train, measure and report; publish if asked to. Raises GateFailed, TrainingFailed, …."""
    is_text = recipe.objective.kind == "monolingual"
    if is_text and options.publish:
        refuse_to_publish(recipe)
    base = resolve_base(recipe.base, root=bases_root(), say=note)
    _say_how_served(recipe, base, publish=options.publish)
    reference, family = BaseModelRef.read(base), family_of(base)
    if family is not None:
        check_pair_recipe(recipe, family)
    refuse(recipe.schedule, recipe.objective, family)
    identity = {
        "recipe": recipe.digest,
        "folder": str(recipe.folder),  # its relative paths start there
        "base": reference.fingerprint,
    }
    start = _start(recipe, registry, reference)
    if start is not None:
        identity["start"] = digest_of([start / CONFIG_FILE, start / WEIGHTS_FILE])
    root = options.out or default_folder(recipe)
    if not (options.resume and (root / "fit.json").is_file()):
        from training.plan.refusal import refuse_beyond_memory

        refuse_beyond_memory(recipe, base, allow=options.allow_memory)
    with open_run(root, identity, resume=options.resume) as folder:
        this = Run(recipe, base, reference, folder, options, start, family)
        write_records(recipe, reference, root)
        if options.fit_only:
            return _only_fitted(this)
        if is_text:
            return _read_text(this)
        candidate = _candidate(this, _current(registry, recipe, reference))
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
        this = Run(recipe, base, BaseModelRef.read(base), folder, options)
        fit_together(this, prepare.load(folder.data), lambda _: None)


def _only_fitted(this: Run) -> Outcome:
    fitted = fit_phase(this, _data(this))
    _note(this)
    summary = {"id": str(this.recipe.id), "base": str(this.reference), **fitted.figures()}
    return Outcome(summary, this.folder.root, None)


def _read_text(this: Run) -> Outcome:
    data = _data(this)
    fitted = fit_phase(this, data)
    this.log.note("evaluate: perplexity of the test text")
    found = measure_text(this.recipe, this.base, fitted.adapter_folder, data)
    summary = summary_of(this.recipe, this.reference, data, fitted, found)
    this.folder.finish("summary", summary)
    return Outcome(summary, this.folder.root, None)


def _say_how_served(recipe: Recipe, base: Path, *, publish: bool) -> None:
    """Note how the result will be served. Raises NotServable if it cannot be published."""
    served = how_served(recipe.method, str(read_config(base).get("model_type")))
    if publish and not served.as_adapter:
        can_merge = served.way is Way.MERGED and recipe.method.kind != "full"
        merge = ", merge it (`dragoman adapters merge`) and serve that" if can_merge else ""
        raise NotServable(
            f"{recipe.id}: served {served.way} ({served.why}), so no registry can have it as an "
            f"adapter; train it without --publish{merge}, or choose a "
            "method and a base that are served as adapters (method.kind: lora, on "
            f"{Recipe.model_fields['base'].default})"
        )
    note(f"served: {served.way} ({served.why})")


def _candidate(this: Run, current: Published | None) -> Candidate:
    data = _data(this)
    others = read_elsewhere(this.recipe, data.train)  # told before the fit, if it cannot be read
    fitted = fit_phase(this, data)
    _note(this)
    texts = held_out(this.recipe, data)
    assessed, elsewhere = _assess(this, texts, others, fitted, current)
    found = measured(this.recipe, texts, assessed)
    findings = Findings(
        evaluations={m.pair: m.evaluation for m in found},
        mean=mean_over_base([assessed[text.pair].outputs for text in texts]),
        elsewhere=elsewhere,
        trained_pairs=len(data.train),
    )
    rule = this.recipe.gate
    gate = judged(judge(findings, rule), fitted.conversion, rule.max_conversion_error)
    if this.options.force and not gate.passed:
        gate = gate.model_copy(update={"forced": True})
    return Candidate(
        recipe=this.recipe,
        base=this.reference,
        base_folder=this.base,
        base_licence=str(read_card(this.base).get("licence") or ""),
        data=data.report,
        fit=fitted,
        measured=found,
        over_base=findings.mean,
        elsewhere=elsewhere,
        gate=gate,
        hardware=hardware(),
    )


def _data(this: Run) -> prepare.Prepared:
    if (this.folder.data / REPORT_FILE).is_file():
        this.log.note("data: done before")
        return prepare.load(this.folder.data)
    data = prepare.prepare(this.recipe)
    objective = this.recipe.objective
    if isinstance(objective, PreferenceObjective):
        data = with_preferences(data, this.recipe, this.base, objective, this.start)
        release_memory()
    prepare.write(data, this.folder.data)
    this.log.note(
        f"data: {len(data.train)} train, {len(data.dev)} dev, {len(data.test)} test segments"
    )
    for line in data.report.lost():
        this.log.note(f"data: {line}")
    return data


def _assess(
    this: Run,
    texts: list[HeldOut],
    others: list[OtherText],
    fitted: FitResult,
    current: Published | None,
) -> tuple[dict[LanguagePair, Assessed], tuple[Kept, ...]]:
    against = current.manifest.digest if current else None
    body = this.folder.result("outputs")
    if body is not None and body["against"] == against:
        this.log.note("evaluate: translated before")
        kept = tuple(Kept.from_json(one) for one in body["elsewhere"])
        return {text.pair: Assessed.from_json(body[str(text.pair)]) for text in texts}, kept
    if this.family is not None:
        (text,) = texts
        with progress("evaluate", total=2 * len(text.test)) as advance:
            folder = fitted.adapter_folder
            pairs = PairSystems(this.recipe, this.base, this.family, folder, advance)
            assessed, kept = {text.pair: pairs.assess(text.test)}, ()
    else:
        assessed, kept = _assess_causal(this, texts, others, fitted, current)
    by_pair = {str(pair): outputs.to_json() for pair, outputs in assessed.items()}
    told = [one.to_json() for one in kept]
    this.folder.finish("outputs", {**by_pair, "elsewhere": told, "against": against})
    return assessed, kept


def _assess_causal(
    this: Run,
    texts: list[HeldOut],
    others: list[OtherText],
    fitted: FitResult,
    current: Published | None,
) -> tuple[dict[LanguagePair, Assessed], tuple[Kept, ...]]:
    adapters = 1 + (current is not None) + (this.start is not None)
    total = steps_over(this.recipe, texts, others, systems=adapters)
    with progress("evaluate", total=total) as advance:
        systems = Systems(
            this.recipe, this.base, fitted.adapter_folder, current, advance, start=this.start
        )
        assessed = assess_all(systems, texts, shots=this.recipe.evaluate.shots)
        return assessed, tuple(systems.kept(text) for text in others)


def _note(this: Run) -> None:
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


def _start(recipe: Recipe, registry: Registry, base: BaseModelRef) -> Path | None:
    objective = recipe.objective
    if not isinstance(objective, PreferenceObjective) or objective.start is None:
        return None
    return find_start(objective.start, recipe.folder, registry, base)


def _current(registry: Registry, recipe: Recipe, base: BaseModelRef) -> Published | None:
    try:
        current = registry.resolve(AdapterRef(recipe.id))
    except AdapterNotFound:
        return None
    if current.manifest.base.fingerprint != base.fingerprint:
        note(f"{recipe.id}: the version in use has another base, so it is not compared")
        return None
    return current

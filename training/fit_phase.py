"""The phase of a run that trains: prepared text in, a trained adapter out, kept in the folder."""

from __future__ import annotations

import ctypes
import dataclasses
import gc

from adapters.manifest import Conversion
from training import prepare
from training.drawn import draw
from training.fit import ranks
from training.fit.dev_texts import dev_texts_of
from training.fit.result import FitProgress, FitResult, OnProgress
from training.hardware import hardware
from training.methods.conversion import check_conversion, told
from training.objective import PreferenceObjective
from training.progress import fit_progress
from training.rows import rows_of
from training.run import Run


def fit_phase(this: Run, data: prepare.Prepared) -> FitResult:
    """Return what the fit of this run came to, now or in an earlier session."""
    body = this.folder.result("fit") if this.folder.adapter.is_dir() else None
    ranks.from_first(body is None)
    if body is not None:
        this.log.note("fit: done before")
        converted = body.get("conversion")
        conversion = Conversion(**converted) if converted else None
        body |= {"adapter_folder": this.folder.adapter, "conversion": conversion}
        return _checked(this, FitResult(**body))
    with fit_progress() as show:

        def on_progress(where: FitProgress) -> None:
            show(where)
            if this.options.on_step is not None:
                this.options.on_step(where)

        fitted = fit_together(this, data, on_progress)
    conversion = fitted.conversion
    body = dataclasses.asdict(fitted) | {
        "adapter_folder": str(fitted.adapter_folder),
        "conversion": conversion and conversion.model_dump(mode="json"),
    }
    this.folder.finish("fit", body)
    release_memory()
    this.log.note(f"fit: {fitted.steps} steps in {fitted.seconds:.0f} s, {fitted.tok_s:.0f} tok/s")
    return _checked(this, fitted)


def release_memory() -> None:
    """Give back what a model took that is no longer needed."""
    # tcmalloc keeps what training freed (5 GB) while the evaluation takes new pages.
    gc.collect()
    release = getattr(ctypes.CDLL(None), "MallocExtension_ReleaseFreeMemory", None)
    if release is not None:
        release()


def fit_together(this: Run, data: prepare.Prepared, on_progress: OnProgress) -> FitResult:
    """Return what the fit came to; each of several processes calls this."""
    from training.fit.run import fit
    from training.plan.speed import remember

    recipe = this.recipe
    drawn = draw(recipe, this.base, data.train)
    dev, _ = rows_of(recipe, this.base, data.dev)
    if told := drawn.told():
        this.log.note(told)
    if drawn.too_long:
        longest = recipe.schedule.max_length
        this.log.note(f"fit: {drawn.too_long} pairs are over {longest} tokens, left out")
    fitted = fit(
        drawn.rows,
        dev,
        this.base,
        recipe.method,
        drawn.schedule,
        this.folder.root,
        objective=recipe.objective,
        start=this.start,
        seed=recipe.seed,
        resume=this.options.resume,
        stages=drawn.stages,
        dev_texts=dev_texts_of(recipe, this.base, data.dev),
        on_progress=on_progress,
    )
    # Plans are of one process, and of rows that go through the model once.
    if ranks.count() == 1 and not isinstance(recipe.objective, PreferenceObjective):
        remember(recipe, this.base, fitted, drawn.rows, hardware=hardware())
    return fitted


def _checked(this: Run, fitted: FitResult) -> FitResult:
    """Return `fitted`, unless it is to be published and its conversion lost more than allowed."""
    if fitted.conversion is not None:
        this.log.note(f"adapter: {told(fitted.conversion)}")
        if this.options.publish and not this.options.force:  # else the gate says so in the end
            limit = this.recipe.gate.max_conversion_error
            check_conversion(fitted.conversion, limit, trained=str(this.folder.trained))
    return fitted

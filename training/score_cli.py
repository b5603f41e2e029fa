"""`dragoman data score`: which pairs a model finds wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.console import note, one_line, print_json, print_table
from training.score.way import Way
from training.train_cli import DataFolder, Json, Overrides, RecipeName

if TYPE_CHECKING:
    from adapters.ids import LanguagePair
    from training.corpus.segment import Segment
    from training.recipe import Recipe
    from training.score.cut import Cut
    from training.score.likelihood import Model
    from training.score.run import Outcome
    from training.score.scored import Scored


def score(
    recipe: RecipeName,
    *,
    out: Annotated[Path, typer.Option(help="The JSON Lines file to write.")],
    overrides: Overrides = None,
    data: DataFolder = None,
    base: Annotated[
        str | None, typer.Option(help="Causal model that judges [default: the recipe's base].")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Folder or id of the adapter that judges, not the base.")
    ] = None,
    registry: Annotated[Path | None, typer.Option(help="Registry that has the adapter.")] = None,
    pair: Annotated[
        str | None, typer.Option(help="Which pair, of a recipe of several [default: the first].")
    ] = None,
    way: Annotated[
        Way, typer.Option(help="Predict the target, the source, or both and take the worse.")
    ] = Way.BOTH,
    drop: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out this share, the worst.")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Leave out what scores below, in place of a share.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many pairs.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Count rows that cannot be read, and go on.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score a recipe's training pairs with a causal model; write them as JSONL, less the worst.

    The score is how much likelier each token gets by the other side of its pair, in nats: low for
    what translates something else. Dev and test stay out. The file is a JSONL
    source with a `score` in each line; give it `part: train` in a recipe.
    """
    from training.recipe import Recipe
    from training.score.cut import Cut
    from training.score.refusal import refuse_other_objectives
    from training.synthesis.texts import direction_of

    if drop is not None and min_score is not None:
        raise typer.BadParameter("--drop and --min-score are two limits; leave one of them out")
    if not out.parent.is_dir():
        raise typer.BadParameter(f"--out {out}: there is no folder {out.parent}; make it first")
    config = Recipe.load(recipe, overrides=overrides or (), folder=data)
    refuse_other_objectives(config)
    chosen = direction_of(config, pair, back=False).pair
    model = _model(config, base, adapter, registry)
    segments = _segments(config, chosen, limit, skip_bad=skip_bad)
    outcome = _run(config, chosen, model, way, segments, Cut(drop or 0.0, min_score), out)
    if as_json:
        print_json(outcome.to_json())
    else:
        _show(outcome)


def _model(config: Recipe, base: str | None, adapter: str | None, registry: Path | None) -> Model:
    from adapters.base_model import BaseModelRef
    from adapters.locations import bases_root, default_registry
    from adapters.registry import FileRegistry
    from training.base_models import resolve_base
    from training.score.likelihood import Model
    from training.score.refusal import refuse_seq2seq
    from training.start import find_start

    folder = resolve_base(base or config.base, root=bases_root(), say=note)
    refuse_seq2seq(folder)
    if adapter is None:
        return Model(folder)
    known = FileRegistry(registry or default_registry())
    return Model(folder, find_start(adapter, Path(), known, BaseModelRef.read(folder)))


def _segments(
    config: Recipe, pair: LanguagePair, limit: int | None, *, skip_bad: bool
) -> list[Segment]:
    from training.prepare import prepare
    from training.score.run import segments_of

    note(f"{config.id}: reading {', '.join(source.location for source in config.data)} …")
    return segments_of(config, prepare(config, skip_bad=skip_bad), pair, limit)


def _run(
    config: Recipe,
    pair: LanguagePair,
    model: Model,
    way: Way,
    segments: list[Segment],
    cut: Cut,
    out: Path,
) -> Outcome:
    from adapters.console import progress
    from training.score.likelihood import Likelihood
    from training.score.run import score as run

    try:
        with progress("score", total=len(segments) * len(way.forth_and_back)) as advance:
            return run(segments, Likelihood(config, pair, model, way, advance), cut, out)
    except KeyboardInterrupt:
        note("stopped; nothing was written")
        raise typer.Exit(130) from None


def _show(outcome: Outcome) -> None:
    ranking = outcome.ranking
    quantiles = ranking.quantiles()
    print_table(["", *quantiles], [["score", *(f"{value:.2f}" for value in quantiles.values())]])
    _show_pairs("\nworst", [("", each) for each in ranking.worst()])
    if at_limit := ranking.at_limit():
        _show_pairs("\nat the limit", at_limit)
    if outcome.unscored:
        note(f"{outcome.unscored} pairs are longer than schedule.max_length and were left out")
    count = len(ranking.scored)
    note(f"{count} pairs in {outcome.seconds:.0f} s, {count / max(outcome.seconds, 1e-9):.1f}/s")
    note(outcome.signature)
    kept = count - ranking.dropped
    typer.echo(f"written: {outcome.out}, {kept} pairs, {ranking.dropped} dropped")


def _show_pairs(title: str, pairs: list[tuple[str, Scored]]) -> None:
    rows = [
        [
            word,
            f"{s.score:.2f}",
            one_line(s.source),
            one_line(s.target),
            f"{Path(s.path).name}:{s.line}",
        ]
        for word, s in pairs
    ]
    print_table(["", "score", "source", "target", "from"], rows, title=title)


def _place(pair: Scored) -> str:
    return f"{Path(pair.path).name}:{pair.line}"

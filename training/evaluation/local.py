"""A model in this process: a run's folder, an exported model, or an adapter of the registry."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from adapters.errors import RequestInvalid
from adapters.ids import AdapterRef, LanguagePair
from adapters.registry import FileRegistry
from training.build.report import REPORT_FILE, DataReport
from training.evaluate.scoreboard import Cost
from training.evaluation.engine import Made, OnProgress
from training.translate.note import ModelNote
from training.translate.opening import Languages, open_folder, open_published
from training.translate.translator import CausalTranslator, Decoder, PairTranslator, Translator


@dataclass(frozen=True)
class Local:
    """A model that is loaded when it is first asked."""

    name: str
    pair: LanguagePair
    open: Callable[[], Translator]
    notes: Mapping[str, str] = field(default_factory=dict)
    trained_on: Sequence[Mapping[str, Any]] = ()

    @cached_property
    def translator(self) -> Translator:
        """The model in memory."""
        # On import it warns that 4-bit kernels are missing, which nothing here uses.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        return self.open()

    def answer(self, texts: Sequence[str], pair: LanguagePair, on_progress: OnProgress) -> Made:
        """Return greedy translations (beams of sequence-to-sequence models as asked for)."""
        translator = self.translator
        asked = [n for n, text in enumerate(texts) if text.strip()]
        began = time.monotonic()
        found = translator.translate([texts[n] for n in asked], on_progress)
        seconds = time.monotonic() - began
        answers = [""] * len(texts)
        for n, answer in zip(asked, found, strict=True):
            answers[n] = answer.text
        cost = Cost(
            prompt_tokens=prompt_tokens(translator, [texts[n] for n in asked]),
            completion_tokens=sum(len(answer.token_ids) for answer in found),
            seconds=seconds,
        )
        return Made(answers, cost, cut=sum(not answer.stopped for answer in found))

    def without_adapter(self, name: str) -> Local:
        """Return the base alone, asked as the adapter is. Raises RequestInvalid if there is none.

        It shares the memory of this one.
        """

        def base() -> Translator:
            own = self.translator
            if not isinstance(own, CausalTranslator) or own.adapter is None:
                raise RequestInvalid(
                    f"--baseline base: {self.name} is a whole model, without a base beside it; "
                    "translate with the base and name its output with --baseline-outputs FILE"
                )
            return replace(own, adapter=None)

        return Local(name, self.pair, base, {"asked": f"with the prompt of {self.name}"})


def open_run(folder: Path, languages: Languages, decoder: Decoder, base: Path | None) -> Local:
    """Return the model of a run's or an exported folder. Raises FileMissing, FileCorrupt."""
    note = ModelNote.read(folder)

    def opened() -> Translator:
        return open_folder(folder, languages=languages, decoder=decoder, base=base)

    notes = {"model": str(folder), "runs in": note.engine.value}
    return Local(note.id, languages.of(note), opened, notes, _data_of(folder))


def open_adapter(
    named: str, registry: Path, languages: Languages, decoder: Decoder, base: Path | None
) -> Local:
    """Return an adapter of the registry. Raises RegistryError, InvalidId."""
    published = FileRegistry(registry).resolve(AdapterRef.parse(named))
    manifest = published.manifest

    def opened() -> Translator:
        return open_published(published, languages=languages, decoder=decoder, base=base)

    first = manifest.pairs[0]
    pair = replace(
        first,
        source=languages.source or first.source,
        target=languages.target or first.target,
    )
    notes = {"base": manifest.base.name, "digest": manifest.digest[:19]}
    data = manifest.training.data if manifest.training else ()
    sources = [source.model_dump(mode="json") for source in data]
    return Local(f"{manifest.id}@{manifest.version}", pair, opened, notes, sources)


def prompt_tokens(translator: Translator, texts: Sequence[str]) -> int:
    """Return how many tokens the model reads for `texts`, prompts included."""
    if isinstance(translator, CausalTranslator):
        tokenizer, pair = translator.tokenizer, translator.pair
        return sum(len(translator.prompt.encode(text, pair, tokenizer)) for text in texts)
    if isinstance(translator, PairTranslator):
        return sum(len(translator.tokenizer.encode_source(text)) for text in texts)
    return 0


def _data_of(folder: Path) -> list[dict[str, Any]]:
    if not (folder / "data" / REPORT_FILE).is_file():
        return []
    return [source.model_dump(mode="json") for source in DataReport.load(folder / "data").sources]

"""A folder or a version of the registry in, a Translator out. Imports torch only when it opens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from adapters.base_model import BaseModelRef, read_config
from adapters.errors import (
    BaseModelMismatch,
    BaseModelNotFound,
    FileCorrupt,
    RequestInvalid,
)
from adapters.ids import LanguagePair
from adapters.locations import bases_root
from adapters.manifest import CONFIG_FILE
from adapters.prompt import PromptFormat
from adapters.registry import Published
from adapters.tokenizer import BaseTokenizer
from training.base_models import resolve_base
from training.seq2seq.family import Family
from training.translate.note import Engine, ModelNote
from training.translate.translator import CausalTranslator, Decoder, PairTranslator, Translator

_NAME: Final = "trained"
CT2_FOLDER: Final = "ctranslate2"


@dataclass(frozen=True)
class Languages:
    """What the user asked for; None leaves it as trained."""

    source: str | None = None
    target: str | None = None

    def of(self, note: ModelNote) -> LanguagePair:
        """Return the pair to translate. Raises RequestInvalid where the model has only one."""
        trained = note.pair
        asked = replace(
            trained, source=self.source or trained.source, target=self.target or trained.target
        )
        if asked != trained and not _names_languages(note):
            raise RequestInvalid(
                f"{note.id} translates {trained} and is not told any language, asked for {asked}; "
                "leave out --from and --to, or use a model of that pair"
            )
        return asked


def open_folder(
    folder: Path, *, languages: Languages, decoder: Decoder, base: Path | None = None
) -> Translator:
    """Return the model of a run's or an exported folder, loaded. Raises FileMissing, …."""
    note = ModelNote.read(folder)
    pair = languages.of(note)
    if note.engine is Engine.CTRANSLATE2:
        return _converted(note, folder, pair, decoder)
    weights = weights_of(folder)
    whole = not (weights / CONFIG_FILE).is_file()
    model = weights if whole else base or base_of(note, folder)
    return _loaded(note, model, pair, decoder, adapter=None if whole else weights)


def open_published(
    published: Published, *, languages: Languages, decoder: Decoder, base: Path | None = None
) -> Translator:
    """Return an adapter of the registry on its base. Raises BaseModelError."""
    manifest = published.manifest
    note = ModelNote(
        id=str(manifest.id),
        pair=manifest.pairs[0],
        base=None,
        prompt=manifest.prompt,
        decoding=manifest.decoding,
    )
    model = base or resolve_base(manifest.base.name, root=bases_root())
    found = BaseModelRef.read(model)
    if found.fingerprint != manifest.base.fingerprint:
        raise BaseModelMismatch(
            f"{manifest.id} was trained on {manifest.base}, {model} is {found}; "
            "name the right folder with --base"
        )
    return _loaded(note, model, languages.of(note), decoder, adapter=published.folder)


def base_of(note: ModelNote, folder: Path) -> Path:
    """Return the folder of the base that the run in `folder` was trained on."""
    base = Path(note.base) if note.base else weights_of(folder)
    if not (base / "config.json").is_file():
        raise BaseModelNotFound(
            f"{folder}: its base was in {base}, and is no longer there; put it back, or train again"
        )
    return base


def weights_of(folder: Path) -> Path:
    """Return where the weights lie: a run keeps them in `adapter`, an exported model beside."""
    trained = folder / "adapter"
    return trained if trained.is_dir() else folder


def _loaded(
    note: ModelNote, model: Path, pair: LanguagePair, decoder: Decoder, *, adapter: Path | None
) -> Translator:
    if note.family is not None:
        from training.seq2seq.generate import PairGenerator
        from training.seq2seq.tokenizer import PairTokenizer

        tokenizer = PairTokenizer.load(model, family=note.family, pair=pair, template=note.template)
        pairs = PairGenerator.load(model, tokenizer, adapter)
        return PairTranslator(pair, pairs, tokenizer, note.decoding, decoder)
    from training.evaluate.generate import Generator

    _check_greedy(decoder)
    prompt, text = _prompt(note), BaseTokenizer.load(model)
    generator = Generator.load(model, {} if adapter is None else {_NAME: adapter})
    name = None if adapter is None else _NAME
    return CausalTranslator(pair, generator, text, prompt, note.decoding, decoder, name)


def _converted(note: ModelNote, folder: Path, pair: LanguagePair, decoder: Decoder) -> Translator:
    from training.translate.runners import PairRunner, TextRunner

    inside = folder / CT2_FOLDER
    if not (inside / "model.bin").is_file():
        raise FileCorrupt(f"{inside}: no model.bin there; export the model again")
    if note.family is not None:
        from training.seq2seq.tokenizer import PairTokenizer

        tokenizer = PairTokenizer.load(
            folder, family=note.family, pair=pair, template=note.template
        )
        positions = read_config(folder).get("max_position_embeddings")
        runner = PairRunner(inside, tokenizer, positions)
        return PairTranslator(pair, runner, tokenizer, note.decoding, decoder)
    _check_greedy(decoder)
    text = BaseTokenizer.load(folder)
    words = TextRunner(inside, text)
    return CausalTranslator(pair, words, text, _prompt(note), note.decoding, decoder)


def _prompt(note: ModelNote) -> PromptFormat:
    if note.prompt is None:
        raise FileCorrupt(f"{note.id}: its note has neither a family nor a prompt; train it again")
    return note.prompt


def _check_greedy(decoder: Decoder) -> None:
    if decoder.beams != 1:
        raise RequestInvalid(
            f"--beams {decoder.beams}: causal models are decoded greedily here, as they are "
            "served; leave the option out"
        )


def _names_languages(note: ModelNote) -> bool:
    template = (
        note.template if note.prompt is None else note.prompt.user + (note.prompt.system or "")
    )
    return note.family is Family.MBART50 or "{target}" in template

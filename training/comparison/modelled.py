"""A trained model as a contender: of the registry, or the folder of a run or of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from adapters.errors import DataInvalid, RequestInvalid
from adapters.ids import AdapterRef
from adapters.manifest import AdapterManifest
from adapters.registry import Published
from training.build.keys import normalise
from training.comparison.answered import Answered, clocked
from training.comparison.figures import of_manifest, of_run
from training.comparison.ground import Ground
from training.corpus.segment import written
from training.corpus.source import digest_of
from training.evaluate.scoreboard import TestSet
from training.evaluation.local import prompt_tokens
from training.translate.note import ModelNote
from training.translate.opening import Languages, open_folder, open_published, weights_of
from training.translate.translator import Decoder, Translator

_WEIGHTS: Final = {".safetensors", ".bin"}
_UNKNOWN: Final = "its recipe is another, so it may have been trained on what is tested here"


@dataclass(frozen=True)
class PublishedContender:
    """An adapter of the registry."""

    ground: Ground
    ref: AdapterRef

    def identity(self) -> Mapping[str, Any]:
        """Return the version's digest. Raises AdapterNotFound."""
        return {"adapter": self._published().manifest.digest}

    def answer(self) -> Answered:
        """Return its translations. Raises BaseModelError, RequestInvalid."""
        published, test = self._published(), self.ground.test
        manifest = published.manifest
        if test.pair not in manifest.pairs:
            raise _other_pair(str(manifest.id), ", ".join(map(str, manifest.pairs)), test)
        languages = Languages(test.pair.source, test.pair.target)
        if manifest.pairs[0] == test.pair:
            languages = Languages()
        translator = open_published(published, languages=languages, decoder=_decoder(self.ground))
        what = f"{manifest.id}@{manifest.version} of the registry"
        answered = translated(translator, test, what)
        notes = {} if holds_out_ours(manifest, self.ground) else {"held out": _UNKNOWN}
        return replace(answered, trained=of_manifest(manifest, published.folder), notes=notes)

    def _published(self) -> Published:
        return self.ground.registry.resolve(self.ref)


@dataclass(frozen=True)
class FolderContender:
    """The folder of a run or of an exported model."""

    ground: Ground
    folder: Path

    def identity(self) -> Mapping[str, Any]:
        """Return what was trained. Raises FileMissing."""
        note = ModelNote.read(self.folder)
        files = sorted(f for f in weights_of(self.folder).rglob("*") if f.suffix in _WEIGHTS)
        return {"note": note.model_dump(mode="json"), "weights": digest_of(files)}

    def answer(self) -> Answered:
        """Return its translations. Raises FileMissing, BaseModelError, RequestInvalid."""
        test, found = self.ground.test, ModelNote.read(self.folder)
        check_not_learnt(self.folder, test)
        translator = open_folder(self.folder, languages=Languages(), decoder=_decoder(self.ground))
        if translator.pair != test.pair:
            raise _other_pair(str(self.folder), str(translator.pair), test)
        answered = translated(translator, test, f"{found.id} in {self.folder}")
        return replace(answered, trained=of_run(self.folder, None))


def check_not_learnt(folder: Path, test: TestSet) -> None:
    """Raise DataInvalid if the run in `folder` was trained on texts of the test set."""
    file = folder / "data" / "train.jsonl"
    if not file.is_file():
        return  # an export says nothing of its text
    tested = {normalise(source) for source in test.sources}
    learnt = {normalise(segment.source) for segment in written(file)} & tested
    if learnt:
        raise DataInvalid(
            f"{folder}: was trained on {len(learnt)} of {len(tested)} texts of the test set, so "
            "its score would say nothing; compare on the recipe that it was trained with"
        )


def holds_out_ours(manifest: AdapterManifest, ground: Ground) -> bool:
    """Whether the adapter was trained by a recipe that divides the same text in the same way."""
    recipe = manifest.training.recipe if manifest.training else {}
    own = ground.recipe.model_dump(mode="json", include={"data", "clean", "split"})
    return all(recipe.get(key) == value for key, value in own.items())


def translated(translator: Translator, test: TestSet, what: str) -> Answered:
    """Return what a model in memory makes of the test set."""
    with clocked(len(test.sources)) as clock:
        answers = translator.translate(test.sources, clock.advance)
        seconds = clock.seconds
    return Answered(
        [answer.text for answer in answers],
        seconds,
        prompt_tokens(translator, test.sources),
        sum(len(answer.token_ids) for answer in answers),
        what,
    )


def _decoder(ground: Ground) -> Decoder:
    return Decoder(batch_size=ground.recipe.evaluate.batch_size)


def _other_pair(name: str, found: str, test: TestSet) -> RequestInvalid:
    return RequestInvalid(
        f"{name} translates {found}, the comparison is of {test.pair}; leave it out, or name a "
        "recipe of its languages with --recipe"
    )

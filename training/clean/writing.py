"""How a language is written: with which letters, and with spaces between words or without."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# Letters and the marks that belong to them, by Unicode blocks: a search for ranges is ten times as
# fast as asking each character for its category.
BLOCKS: Final = {
    "latn": "A-Za-zªºÀ-ÖØ-öø-ʯ\u0300-\u036fḀ-ỿꜢ-ꟊ\uff21-\uff3a\uff41-\uff5a",
    "cyrl": "\u0400-\u052f\u2de0-\u2dff\ua640-\ua69f",
    "grek": "\u0370-\u03ff\u1f00-\u1fff",
    "armn": "\u0530-\u058f",
    "geor": "\u10a0-\u10ff\u1c90-\u1cbf\u2d00-\u2d2f",
    "hebr": "\u0590-\u05ff\ufb1d-\ufb4f",
    "arab": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc",
    "deva": "\u0900-\u097f\ua8e0-\ua8ff",
    "beng": "\u0980-\u09ff",
    "guru": "\u0a00-\u0a7f",
    "gujr": "\u0a80-\u0aff",
    "orya": "\u0b00-\u0b7f",
    "taml": "\u0b80-\u0bff",
    "telu": "\u0c00-\u0c7f",
    "knda": "\u0c80-\u0cff",
    "mlym": "\u0d00-\u0d7f",
    "sinh": "\u0d80-\u0dff",
    "thai": "\u0e00-\u0e7f",
    "laoo": "\u0e80-\u0eff",
    "tibt": "\u0f00-\u0fff",
    "mymr": "\u1000-\u109f",
    "ethi": "\u1200-\u139f",
    "khmr": "\u1780-\u17ff",
    "kore": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3",
    "hani": "々〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "jpan": "々〇\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
}
# Languages of several scripts (sr, uz, pa, ku) are left out: a pair can name one (sr_latn).
_LANGUAGES: Final = {
    "latn": "af ast br bs ca ceb co cs cy da de en eo es et eu fi fil fo fr fy ga gd gl ha haw hmn"
    " hr ht hu id ig is it jv la lb lt lv mg mi ms mt nb nl nn no ny oc om pl pt qu rm ro rw sk sl"
    " sm sn so sq st su sv sw tl tr vi wa wo xh yo zu",
    "cyrl": "be bg ky mk ru tg tt uk",
    "arab": "ar ckb fa ps ur",
    "hebr": "he iw yi",
    "grek": "el",
    "armn": "hy",
    "geor": "ka",
    "deva": "hi mr ne",
    "beng": "as bn",
    "gujr": "gu",
    "orya": "or",
    "taml": "ta",
    "telu": "te",
    "knda": "kn",
    "mlym": "ml",
    "sinh": "si",
    "thai": "th",
    "laoo": "lo",
    "tibt": "bo dz",
    "mymr": "my",
    "ethi": "am ti",
    "khmr": "km",
    "kore": "ko",
    "hani": "wuu yue zh",
    "jpan": "ja",
}
_SCRIPTS: Final = {
    language: script for script, languages in _LANGUAGES.items() for language in languages.split()
}
_ALIASES: Final = {"hans": "hani", "hant": "hani"}
_NO_SPACES: Final = frozenset({"bo", "dz", "ja", "km", "lo", "my", "th", "wuu", "yue", "zh"})
# Thai and its neighbours end a sentence with a space, if with anything.
_NO_STOPS: Final = frozenset({"bo", "dz", "km", "lo", "my", "th"})
# Everything else is a letter, or a mark on one, of one script or another.
_NO_LETTERS: Final = re.compile(
    "[\\s!-@\\[-`{-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7\u060c\u061b\u061f\u0660-\u066d\u06d4\u06f0-\u06f9"
    "\u0964-\u096f\u2000-\u2bff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3020\u3030\u303d-\u303f\u30fb"
    "\ufe00-\ufe6f\uff01-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffff\U0001f000-\U0001faff]+"
)
_NO_ASCII_LETTERS: Final = dict.fromkeys(
    code for code in range(128) if not chr(code).isalpha()
)  # what str.translate deletes
_UNSPACED: Final = re.compile(
    "[" + "".join(BLOCKS[name] for name in ("jpan", "thai", "laoo", "tibt", "mymr", "khmr")) + "]"
)
# East Asian Width W and F (Unicode Standard Annex 11), by blocks.
_WIDE: Final = re.compile(
    "[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f"
    "\uff01-\uff60\uffe0-\uffe6\U0001f300-\U0001f64f\U0001f900-\U0001f9ff\U00020000-\U0003fffd]+"
)


def letters(text: str) -> int:
    """Return how many characters are letters, or marks on letters."""
    if text.isascii():
        return len(text.translate(_NO_ASCII_LETTERS))
    return len(text) - _length(_NO_LETTERS, text)


def columns(text: str) -> int:
    """Return how wide a terminal shows the text: Chinese characters count twice."""
    return len(text) if text.isascii() else len(text) + _length(_WIDE, text)


@lru_cache(maxsize=256)
def script_of(language: str) -> str | None:
    """Return the ISO 15924 code, in small letters, of the script of `language`, if it is known."""
    base, *variants = language.split("_")
    for variant in variants:
        if (script := _ALIASES.get(variant, variant)) in BLOCKS:
            return script
    return _SCRIPTS.get(base)


def is_unspaced(text: str) -> bool:
    """Return whether the text has characters of scripts that put no spaces between words."""
    return not text.isascii() and _UNSPACED.search(text) is not None


@lru_cache(maxsize=256)
def has_spaces(language: str) -> bool:
    """Return whether spaces divide words."""
    return language.partition("_")[0] not in _NO_SPACES


@lru_cache(maxsize=256)
def has_stops(language: str | None) -> bool:
    """Return whether sentences end with a full stop of their own."""
    return language is None or language.partition("_")[0] not in _NO_STOPS


def _length(runs: re.Pattern[str], text: str) -> int:
    return sum(map(len, runs.findall(text)))

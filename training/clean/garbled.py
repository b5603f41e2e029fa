"""Characters that no writer meant: control characters, and text read in a wrong encoding."""

from __future__ import annotations

import re
from typing import Final

# All of C0 but the white space, DEL, C1, what stands for a lost character, and half a character.
_CONTROL: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd-\uffff\ud800-\udfff]")
# Two U+FFFD in UTF-8, read as GBK.
_LOST_IN_GBK: Final = "锟斤拷"
# The first byte of a character in UTF-8, then another, both read in Latin-1 or the code pages 1250
# to 1252. Clean text has few such neighbours, and ftfy, which is slow, tells those apart.
_SECOND_BYTE: Final = "\xa0-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸŚŤŹśťźˇ˘ŁĄŞŻ˛łąşĽ˝ľż"  # noqa: RUF001
_SECOND_CYRILLIC: Final = "ЂЃѓЉЊЌЋЏђљњќћџЎўЈҐЄЇІіґєјЅѕї\xa0-\xbf€‚„…†‡‰‹‘’“”•–—™›№Ё"  # noqa: RUF001
_SPACES: Final = re.compile(r"[ \t\r\n]+")
_MOJIBAKE: Final = re.compile(f"[Â-ôĂĹ][{_SECOND_BYTE}]|[РС][{_SECOND_CYRILLIC}]")  # noqa: RUF001


def is_garbled(text: str) -> bool:
    """Return whether the text holds control characters, or reads better in another encoding."""
    if _CONTROL.search(text):
        return True
    if text.isascii():
        return False
    return _LOST_IN_GBK in text or _is_mojibake(text)


def _is_mojibake(text: str) -> bool:
    if not _MOJIBAKE.search(text):
        return False
    # Here, since `dragoman --help` needs none of it.
    import ftfy

    # White space would change its mind.
    line = _SPACES.sub(" ", text).strip(" ")
    return ftfy.fix_encoding(line) != line

"""Ways in which files break, for hypothesis: cut, flipped, doubled, of another encoding."""

from __future__ import annotations

import io
import zipfile
from typing import Final

from hypothesis import strategies as st

# What a parser of some format stumbles over.
_PIECES: Final = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r", b"\n", b'"', b"'", b"\\", b"\\u",
    b"\\ud800", b"<", b"</", b"<tu>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"&", b"&lol;",
    b"&#0;", b"&#xD800;", b"<?xml version='1.0' encoding='utf-16'?>", b"{", b"}", b"[", b"]",
    b"null", b"1e999", b"\t", b",", b";", b"99999999999:00:00,000 --> 0", b"{{<", b">}}", b"```",
    b"---\n", b"|", b"> ", b"- ", b"{#", b"msgid", b"msgstr[9]", b'"charset=nonsense\\n"',
    b"plural=1/(n-5);", "\u2028\x85\ud7ff".encode(),
)  # fmt: skip
_ENCODINGS: Final = ("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "utf-7", "cp037")


def cut(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(_place(data))]


def without_a_part(draw: st.DrawFn, data: bytes) -> bytes:
    begin, end = sorted((draw(_place(data)), draw(_place(data))))
    return data[:begin] + data[end:]


def with_a_part_again(draw: st.DrawFn, data: bytes) -> bytes:
    begin, end = sorted((draw(_place(data)), draw(_place(data))))
    return data[:end] + data[begin:end] * draw(st.integers(1, 5)) + data[end:]


def with_another_byte(draw: st.DrawFn, data: bytes) -> bytes:
    place = draw(_place(data))
    return data[:place] + draw(st.binary(min_size=1, max_size=2)) + data[place + 1 :]


def with_a_piece(draw: st.DrawFn, data: bytes) -> bytes:
    place = draw(_place(data))
    return data[:place] + draw(st.sampled_from(_PIECES)) + data[place:]


def without_a_line(draw: st.DrawFn, data: bytes) -> bytes:
    lines = data.split(b"\n")
    del lines[draw(st.integers(0, len(lines) - 1))]
    return b"\n".join(lines)


def with_a_line_again(draw: st.DrawFn, data: bytes) -> bytes:
    lines = data.split(b"\n")
    lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(lines)))
    return b"\n".join(lines)


def in_another_encoding(draw: st.DrawFn, data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode(draw(st.sampled_from(_ENCODINGS)), "replace")


_WAYS: Final = (
    cut, without_a_part, with_a_part_again, with_another_byte, with_a_piece, without_a_line,
    with_a_line_again, in_another_encoding,
)  # fmt: skip


@st.composite
def broken(draw: st.DrawFn, good: bytes) -> bytes:
    """A file that was good, broken in one to four ways; or nothing but bytes."""
    if draw(st.integers(0, 9)) == 0:
        return bytes(draw(st.binary(max_size=200)))
    for way in draw(st.lists(st.sampled_from(_WAYS), min_size=1, max_size=4)):
        good = way(draw, good)
    return good


@st.composite
def broken_inside(draw: st.DrawFn, good: bytes) -> bytes:
    """An archive that is whole, with one of its files broken."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(files)))
    files[name] = draw(broken(files[name]))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def _place(data: bytes) -> st.SearchStrategy[int]:
    return st.integers(0, len(data))

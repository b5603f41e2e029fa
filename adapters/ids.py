"""Names: language pairs, adapter ids, and references to one version of an adapter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from adapters.errors import InvalidId

# Bounded, since an id names a folder: no file system takes a name of more than 255 bytes.
_LANGUAGE: Final = r"[a-z]{2,3}(?:_[a-z0-9]{2,8}){0,3}"
_DOMAIN: Final = r"[a-z][a-z0-9_.]{0,62}"
_PAIR_RE: Final = re.compile(rf"(?P<source>{_LANGUAGE})-(?P<target>{_LANGUAGE})")
_ID_RE: Final = re.compile(rf"(?P<domain>{_DOMAIN})-(?:(?P<mul>mul)|(?P<pair>{_PAIR_RE.pattern}))")
_ALIAS_RE: Final = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
_VERSION_RE: Final = re.compile(r"[1-9][0-9]{0,8}")
_DIGEST_RE: Final = re.compile(r"sha256:[0-9a-f]{12,64}")
STABLE: Final = "stable"


@dataclass(frozen=True, order=True)
class LanguagePair:
    """Source and target language as lower-case BCP 47 subtags joined by `_`: `en`, `zh_hant`."""

    source: str
    target: str

    def __post_init__(self) -> None:
        if _PAIR_RE.fullmatch(f"{self.source}-{self.target}") is None:
            raise _bad_pair(f"{self.source}-{self.target}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pair written as `en-fr`. Raises InvalidId."""
        match = _PAIR_RE.fullmatch(text)
        if match is None:
            raise _bad_pair(text)
        return cls(match["source"], match["target"])

    @property
    def reverse(self) -> LanguagePair:
        """The other direction."""
        return LanguagePair(self.target, self.source)

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


@dataclass(frozen=True)
class AdapterId:
    """`domain-src-tgt`, or `domain-mul` (pair is None) for an adapter of several pairs."""

    domain: str
    pair: LanguagePair | None

    def __post_init__(self) -> None:
        # An id becomes a path, so there is no way to make one that was not looked at.
        if "-" in self.domain or not _is_id(str(self)):
            raise _bad_id(str(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the id written as `k8s-en-zh`. Raises InvalidId (also for `..` and `/`)."""
        match = _ID_RE.fullmatch(text)
        if match is None or not _is_id(text):
            raise _bad_id(text)
        pair = None if match["mul"] else LanguagePair(match["source"], match["target"])
        return cls(match["domain"], pair)

    def __str__(self) -> str:
        return f"{self.domain}-{self.pair or 'mul'}"

    def __lt__(self, other: AdapterId) -> bool:
        return str(self) < str(other)


@dataclass(frozen=True)
class AdapterRef:
    """One version of an adapter: `id` (its stable version), `id@3`, `id@canary`, `id@sha256:…`."""

    id: AdapterId
    selector: str = STABLE

    def __post_init__(self) -> None:
        known = (_VERSION_RE.fullmatch, _DIGEST_RE.fullmatch, _ALIAS_RE.fullmatch)
        if not any(matches(self.selector) for matches in known):
            raise InvalidId(
                f"{f'{self.id}@{self.selector:.80}'!r}: after '@' expected a version (3), an alias "
                "(stable, canary) or a digest (sha256: and at least 12 hex digits)"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference written as `k8s-en-zh@3`. Raises InvalidId."""
        name, at, selector = text.partition("@")
        adapter_id = AdapterId.parse(name)
        return cls(adapter_id, selector) if at else cls(adapter_id)

    @property
    def version(self) -> int | None:
        """The version number, if the reference names one."""
        return int(self.selector) if self.selector.isdecimal() else None

    @property
    def digest(self) -> str | None:
        """The (possibly shortened) digest, if the reference names one."""
        return self.selector if self.selector.startswith("sha256:") else None

    def __str__(self) -> str:
        return str(self.id) if self.selector == STABLE else f"{self.id}@{self.selector}"


def is_alias(text: str) -> bool:
    """Return whether `text` may be the name of an alias."""
    return _ALIAS_RE.fullmatch(text) is not None


def _is_id(text: str) -> bool:
    return _ID_RE.fullmatch(text) is not None and ".." not in text


def _bad_pair(text: str) -> InvalidId:
    return InvalidId(
        f"language pair {text[:80]!r}: expected SOURCE-TARGET such as 'en-fr' or 'en-zh_hant'"
    )


def _bad_id(text: str) -> InvalidId:
    return InvalidId(
        f"adapter id {text[:150]!r}: expected DOMAIN-SOURCE-TARGET such as 'k8s-en-zh', "
        "or DOMAIN-mul; lower case, a domain has no '-'"
    )

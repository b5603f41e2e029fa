"""Language tags as files spell them (en-US, zh_CN, pt-BR, zh-Hans) against the codes of a pair."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

# What locales call a country and language tags call a script.
_SCRIPTS: Final = {
    "zh_cn": "zh_hans", "zh_sg": "zh_hans", "zh_chs": "zh_hans",
    "zh_tw": "zh_hant", "zh_hk": "zh_hant", "zh_mo": "zh_hant", "zh_cht": "zh_hant",
}  # fmt: skip


# A file has a few tags, and a million units that are tagged with them.
@lru_cache(maxsize=1024)
def speaks(tag: str, language: str) -> bool:
    """Return whether text tagged `tag` may be used as `language` of a pair.

    `en-US` may for `en`, `zh-CN` for `zh` and `zh_hans`; `pt-PT` may not for `pt_br`, nor `pt`.
    """
    code = tag.strip().lower().replace("-", "_").partition(".")[0].partition("@")[0]
    return language in {code, _SCRIPTS.get(code), code.partition("_")[0]}


@lru_cache(maxsize=1024)
def is_spelt(tag: str, language: str) -> bool:
    """Return whether `tag` is `language` itself, none of its variants."""
    return tag.lower().replace("-", "_") == language


def spellings(language: str) -> Iterator[str]:
    """Yield how names of files and folders spell `language`, the commonest first.

    `pt_br` is pt_BR, pt-BR, pt_br, pt-br, and as Android writes it pt-rBR and b+pt+BR.
    """
    base, _, rest = language.partition("_")
    if not rest:
        yield base
        return
    variant = rest.title() if len(rest) == len("Hans") else rest.upper()
    yield from (f"{base}_{variant}", f"{base}-{variant}", f"{base}_{rest}", f"{base}-{rest}")
    yield from (f"{base}-r{variant}", f"b+{base}+{variant}")
    for locale, script in _SCRIPTS.items():
        if script == language:
            country = locale.partition("_")[2]
            yield from (f"{base}_{country.upper()}", f"{base}-{country.upper()}")
            yield from (f"{base}-{country}", f"{base}-r{country.upper()}")

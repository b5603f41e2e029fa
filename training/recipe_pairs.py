"""The language pairs of a recipe against its id, its sources and its sampling."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.ids import AdapterId, LanguagePair
from training.corpus.source import Source
from training.sampling import SamplingRule


def check_pairs(adapter_id: AdapterId, pairs: Sequence[LanguagePair]) -> tuple[LanguagePair, ...]:
    """Return the adapter's pairs: that of its id, or the several that are listed.

    Raises ValueError, as the other checks do: pydantic tells it at the key.
    """
    if adapter_id.pair is not None:
        if tuple(pairs) not in {(), (adapter_id.pair,)}:
            raise ValueError(
                f"the id {adapter_id} is of one pair, found {_listed(pairs)}; remove `pairs`, "
                f"or call the adapter {adapter_id.domain}-mul"
            )
        return (adapter_id.pair,)
    if len(pairs) < 2:
        raise ValueError(
            f"the id {adapter_id} is of several pairs, found {_listed(pairs)}; list them, for "
            "example `pairs: [en-de, en-fr, fr-en]`, or name the one pair in the id: "
            f"{adapter_id.domain}-{pairs[0] if pairs else 'en-fr'}"
        )
    if len(set(pairs)) < len(pairs):
        raise ValueError(f"a pair is listed twice: {_listed(pairs)}; remove one of them")
    return tuple(pairs)


def check_sources(sources: Sequence[Source], pairs: Sequence[LanguagePair]) -> None:
    """Raise ValueError for a source without use, and for a pair without text."""
    for number, source in enumerate(sources):
        if source.language is not None:
            raise ValueError(
                f"source {number} is text of one language, and the objective needs pairs; "
                "set `objective: {kind: monolingual}`, or give its translation"
            )
        if source.pair is None and len({frozenset((p.source, p.target)) for p in pairs}) > 1:
            raise ValueError(
                f"source {number} does not say its languages, and the recipe has several; "
                f"add for example `pair: {pairs[0]}` to it"
            )
        if not source.directions(pairs):
            raise ValueError(
                f"the pair of source {number} is {source.pair}, which is neither of the recipe "
                f"({_listed(pairs)}) nor the reverse of one that is; correct it, or leave the "
                "source out"
            )
    used = {pair for source in sources for pair in source.directions(pairs)}
    if missing := [pair for pair in pairs if pair not in used]:
        raise ValueError(f"no source has text for {_listed(missing)}; add one, or leave it out")


def check_texts(sources: Sequence[Source], pairs: Sequence[LanguagePair]) -> None:
    """Raise ValueError for a source that is not monolingual text of one of the languages."""
    languages = dict.fromkeys(code for pair in pairs for code in (pair.source, pair.target))
    for number, source in enumerate(sources):
        if source.language not in languages:
            found = f"is in {source.language}" if source.language else "has no `language`"
            raise ValueError(
                f"source {number} {found}, and a monolingual objective learns from text in "
                f"{' or '.join(languages)}; give a text or jsonl source with `language: "
                f"{pairs[0].target}`, or leave `objective` out"
            )


def check_sampling(rule: SamplingRule, pairs: Sequence[LanguagePair]) -> None:
    """Raise ValueError for a weight of another pair, and where there is nothing to weigh."""
    if len(pairs) == 1 and (rule.weights or rule.temperature != 1):
        raise ValueError(
            f"there is one pair, {pairs[0]}, so nothing to weigh; remove `temperature` and "
            "`weights` (domains have `domain_temperature` and `domain_weights`)"
        )
    if unknown := [pair for pair in rule.weights if pair not in pairs]:
        raise ValueError(
            f"weights are of the recipe's pairs ({_listed(pairs)}), found {_listed(unknown)}"
        )


def check_prompt(messages: Sequence[str], pairs: Sequence[LanguagePair]) -> None:
    """Raise ValueError where two pairs would be asked by the same words."""
    if any("{target}" in message for message in messages):
        return
    for pair in pairs:
        alike = [other for other in pairs if other.source == pair.source]
        if len(alike) > 1:
            raise ValueError(
                f"{_listed(alike)} would be asked by the same words; name the language in `user` "
                'or `system`, for example `user: "Translate from {source} to {target}:\\n{text}"`'
            )


def _listed(pairs: Sequence[LanguagePair]) -> str:
    return ", ".join(map(str, pairs)) or "none"

"""What a recipe says of domains, replay and augmentation, against its sources and objective."""

from __future__ import annotations

from collections.abc import Sequence

from training.augment.rules import AugmentRules
from training.corpus.source import Source
from training.objective import Objective
from training.sampling import SamplingRule


def check_mixing(rule: SamplingRule, sources: Sequence[Source]) -> None:
    """Raise ValueError for a domain or a replay that no source has."""
    known = {source.domain for source in sources if source.domain}
    named = {*rule.domain_weights, *(name for stage in rule.stages for name in stage.domains)}
    if unknown := sorted(named - known):
        raise ValueError(
            f"domains are those of the sources ({', '.join(sorted(known)) or 'none'}), found "
            f"{', '.join(unknown)}; add `domain: {unknown[0]}` to the source that is of it"
        )
    if rule.domain_temperature != 1 and not known:
        raise ValueError("domain_temperature is of domains, and no source has a `domain`")
    if rule.replay != SamplingRule().replay and not any(source.replay for source in sources):
        raise ValueError(
            "no source has the share that `replay` gives; add `replay: true` to one of them"
        )


def check_augment(rules: AugmentRules, objective: Objective) -> None:
    """Raise ValueError where there is no prompt, or where texts are compared as they are."""
    if rules.is_on and objective.kind != "sft":
        raise ValueError(
            "augmentation is of the prompts and translations that `objective: {kind: sft}` "
            f"learns from, found kind: {objective.kind}; remove `augment`"
        )

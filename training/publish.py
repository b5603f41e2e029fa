"""From a trained adapter to a version in the registry: the contract, and who gets to be stable."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from adapters.errors import GateFailed
from adapters.ids import STABLE
from adapters.manifest import CONFIG_FILE, AdapterManifest, Training, Weights, hash_files
from adapters.registry import Published, Registry
from training.candidate import Candidate
from training.methods.served import name_of


def publish(candidate: Candidate, registry: Registry, *, force: bool = False) -> Published:
    """Add the candidate to the registry; `stable` moves to it if the gate passed.

    Raises GateFailed if it did not pass, unless forced: then it is published as such, and only an
    id's first version becomes stable. Readers see the whole version or nothing.
    """
    gate = candidate.gate
    if not gate.passed and not force:
        raise GateFailed(
            f"{candidate.recipe.id}: not published: {'; '.join(gate.reasons)}. "
            f"The adapter and its report are in {candidate.fit.adapter_folder}; improve the "
            "recipe, or publish it all the same with --force"
        )
    published = registry.publish(draft_of(candidate), candidate.fit.adapter_folder)
    if gate.passed:
        registry.set_alias(candidate.recipe.id, STABLE, published.manifest.version)
    return published


def draft_of(candidate: Candidate) -> AdapterManifest:
    """Return the manifest; the registry gives it its number and digest."""
    recipe, fit = candidate.recipe, candidate.fit
    return AdapterManifest(
        id=recipe.id,
        version=1,
        created=datetime.now(UTC),
        domain=recipe.id.domain,
        pairs=recipe.pairs,
        task=recipe.task,
        base=candidate.base,
        prompt=recipe.prompt.complete(candidate.base_folder),
        decoding=recipe.decoding,
        weights=weights_of(fit.adapter_folder),
        training=Training(
            recipe=recipe.model_dump(mode="json"),
            method=name_of(recipe.method),
            seed=recipe.seed,
            seconds=round(fit.seconds, 1),
            hardware=candidate.hardware,
            versions=fit.versions,
            data=candidate.data.sources,
            conversion=fit.conversion,
        ),
        scores=tuple(score for m in candidate.measured for score in m.evaluation.scores()),
        golden=candidate.measured[0].golden,  # servers ask it in the first pair
        gate=candidate.gate,
        licence=recipe.licence,
        limitations=recipe.limitations.strip(),
    )


def weights_of(folder: Path) -> Weights:
    """Return what PEFT wrote about the adapter in `folder`, and the hashes of its files."""
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    return Weights(
        rank=int(config["r"]),
        alpha=float(config["lora_alpha"]),
        target_modules=tuple(sorted(config["target_modules"])),
        files=hash_files(folder),
    )

"""Manifests against the schemas of their readers; unknown kinds and unknown keys are faults."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import yaml

from tests.deploy.rendered import Manifest

KUBERNETES: Final = "1.37"
_EXTENSIONS: Final[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("extensions.yaml").read_text(encoding="utf-8")
)
_MODELLED: Final = frozenset(
    {
        "keda.sh/v1alpha1 ScaledObject",
        "monitoring.coreos.com/v1 PodMonitor",
        "monitoring.coreos.com/v1 PrometheusRule",
    }
)
# Newer than the models' KEDA 2.16: https://keda.sh/docs/latest/reference/scaledobject-spec
_FALLBACK: Final = {
    "enum": ["static", *(f"currentReplicas{suffix}" for suffix in ("", "IfHigher", "IfLower"))]
}
_METADATA: Final = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def faults(manifest: Manifest) -> Iterator[str]:
    """Yield what the reader of this manifest would refuse, or silently drop."""
    kind = f"{manifest['apiVersion']} {manifest['kind']}"
    if kind in _MODELLED or kind in _EXTENSIONS:
        schema = _modelled(kind) if kind in _MODELLED else _extension(kind)
        for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest):
            yield f"{kind} {manifest['metadata']['name']}: {error.json_path}: {error.message}"
        if kind.endswith("TrainingRuntime"):
            for job in manifest["spec"]["template"]["spec"]["replicatedJobs"]:
                head = {"apiVersion": "batch/v1", "kind": "Job"}
                metadata = {"name": job["name"], **job["template"].get("metadata", {})}
                yield from faults({**job["template"], **head, "metadata": metadata})
        return
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{kind} {manifest['metadata']['name']}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"{kind}: no such kind in Kubernetes {KUBERNETES}, nor in the extensions that we use"


@functools.cache
def _modelled(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a published model, closed: its own lets unknown keys pass."""
    # Thousands of classes: two seconds, which not every collection of tests shall take.
    from cloudcoil.models.keda import v1alpha1 as keda
    from cloudcoil.models.prometheus_operator import v1 as prometheus

    models: Any = keda if kind.startswith("keda.sh") else prometheus
    model = getattr(models, kind.rpartition(" ")[2])
    schema: dict[str, Any] = model.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    if kind.startswith("keda.sh"):
        definitions["Fallback"]["properties"]["behavior"] = _FALLBACK
    for definition in (schema, *definitions.values()):
        if "properties" in definition:
            definition["additionalProperties"] = False
    schema["properties"]["metadata"] = _METADATA
    return schema


@functools.cache
def _extension(kind: str) -> dict[str, Any]:
    return _object(
        {
            "apiVersion!": {"type": "string"},
            "kind!": {"type": "string"},
            "metadata!": _METADATA,
            "spec!": _EXTENSIONS[kind],
        }
    )


def _object(keys: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [key.rstrip("!") for key in keys if key.endswith("!")],
        "properties": {key.rstrip("!"): _schema(value) for key, value in keys.items()},
    }


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    if "array" in value:
        return {"type": "array", "minItems": 1, "items": _object(value["array"])}
    return value if {"type", "enum"} & value.keys() else _object(value)

"""KubeRay's custom resource definitions as JSON Schema, to check manifests without a cluster.

The definitions are not part of this repository. They are read from the folder that SELFRAY_KUBERAY_CRDS names, or from
`../shared/kuberay-crds` beside the checkout; a test that needs them is skipped where there are none. Rules in CEL
(`x-kubernetes-validations`) are not covered; `test_kubernetes.py` states those that matter here.
"""

import gzip
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "kuberay-crds"
GROUP = "ray.io/"


def folder() -> Path | None:
    """Where the definitions are, or None."""
    named = os.environ.get("SELFRAY_KUBERAY_CRDS")
    place = Path(named) if named else BESIDE
    return place if any(place.glob("*.yaml*")) else None


def validate(document: dict[str, Any]) -> list[str]:
    """What is wrong with a manifest of KubeRay, a sentence a mistake: none if it is as the definitions say.

    Skips the test that asks where there are no definitions.
    """
    identity = (str(document.get("apiVersion")), str(document.get("kind")))
    found = schemas()
    if identity not in found:
        known = ", ".join(sorted(f"{version} {kind}" for version, kind in found))
        return [f"{identity[0]} {identity[1]} is none of {known}"]
    validator = jsonschema.Draft202012Validator(found[identity])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@cache
def schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """(apiVersion, kind) -> JSON Schema, of every served version."""
    place = folder()
    if place is None:
        pytest.skip("no KubeRay definitions: SELFRAY_KUBERAY_CRDS names no folder that holds them")
    made = {}
    for file in sorted(place.glob("*.yaml*")):
        text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        for definition in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            spec = definition["spec"]
            for version in spec["versions"]:
                if version["served"]:
                    identity = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                    made[identity] = closed(version["schema"]["openAPIV3Schema"])
    return made


def closed(schema: Any) -> Any:
    """An OpenAPI schema of Kubernetes as JSON Schema in which a key that is not described is a mistake."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # `properties` maps names of keys, which may read like keywords, to schemas
    made = {
        key: {name: closed(part) for name, part in value.items()} if key == "properties" else closed(value)
        for key, value in schema.items()
        if not key.startswith("x-kubernetes-") and key not in ("nullable", "default", "description", "example")
    }
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    elif "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") else made

"""The Kubernetes files as they are, and as kubectl renders them."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .tools import DEPLOY, ask

KUBERNETES = DEPLOY / "kubernetes"
RENDERED = ("base", "nightly", "overlays/cpu", "overlays/gpu", "overlays/kueue", "overlays/raycronjob")

Document = dict[str, Any]


def documents(text: str) -> list[Document]:
    """The documents of a YAML stream."""
    return [document for document in yaml.safe_load_all(text) if document]


def written() -> Iterator[tuple[Path, Document]]:
    """Every resource that is written down, with its file; kustomizations and pipelines are none."""
    for file in sorted([*KUBERNETES.rglob("*.yaml"), DEPLOY / "orchestrators" / "argo.yaml"]):
        for document in documents(file.read_text(encoding="utf-8")):
            if document.get("kind") not in (None, "Kustomization"):
                yield file, document


@cache
def rendered(name: str) -> list[Document]:
    """What `kubectl apply -k` would send."""
    done = ask("kubectl", "kustomize", KUBERNETES / name)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return documents(done.stdout)


def pods(thing: Any, path: str = "") -> Iterator[tuple[str, Document]]:
    """Every pod's specification below a document, with where it is: a mapping that lists containers."""
    if isinstance(thing, dict):
        if isinstance(thing.get("containers"), list):
            yield path, thing
        for key, value in thing.items():
            yield from pods(value, f"{path}/{key}")
    elif isinstance(thing, list):
        for number, value in enumerate(thing):
            yield from pods(value, f"{path}/{number}")


def one(name: str, kind: str) -> Document:
    """The only resource of a kind that an overlay renders."""
    (found,) = [document for document in rendered(name) if document["kind"] == kind]
    return found

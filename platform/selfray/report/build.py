"""Builds the report of a run: one HTML page that needs nothing but itself."""

import base64
import functools
import hashlib
import os
from pathlib import Path
from typing import Any

from .figures import MARKERS
from .reading import Run, part, read
from .sections import clusters, curves, embeddings, header, learned, neighbours, recipe, use, views

HERE = Path(__file__).parent
FILE = "report.html"
SECTIONS = (  # in the order of the page; each has a template of the module's name beside it
    (learned, "What was learned"),
    (curves, "How training went"),
    (embeddings, "Map of the embeddings"),
    (neighbours, "Nearest neighbours"),
    (clusters, "What the clusters hold"),
    (views, "What the objective saw"),
    (recipe, "Recipe"),
    (use, "Use the encoder"),
)


def build(run: str | Path) -> Path:
    """Write RUN/report.html from what the run folder holds, and return its path.

    Every file may be missing, torn or damaged: the page then says what to run or what could not be read.

    Raises:
        UserError: there is no such folder.
    """
    found = read(run)
    page = render(found)
    aside = found.folder / f".{FILE}.{os.getpid()}"
    aside.write_text(page, encoding="utf-8")
    aside.replace(found.folder / FILE)  # a reader never sees half a page
    return found.folder / FILE


def render(run: Run) -> str:
    """The page as text."""
    from markupsafe import Markup

    script = (HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("template.html.j2")
        .render(
            header=header.content(run),
            sections=[
                _section(module, title, run) for module, title in SECTIONS if module is not clusters or run.clusters
            ],
            evaluate=use.evaluate_command(run),
            markers=MARKERS,
            footer=_footer(run),
            style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_digest=digest,  # the policy lets this script run and no other, whatever a name may smuggle in
        )
    )


@functools.cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,  # names come from corpora of strangers
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _section(module: Any, title: str, run: Run) -> dict[str, Any]:
    name = module.__name__.rpartition(".")[2]
    return {"name": name, "title": title, "template": f"sections/{name}.html.j2", "content": module.content(run)}


def _footer(run: Run) -> dict[str, Any]:
    corpus = part(run.summary, "corpus")
    return {
        "versions": [(str(name), str(version)) for name, version in part(run.summary, "versions").items()],
        "corpus": [
            (label, str(corpus[key]))
            for key, label in (("name", "Corpus"), ("fingerprint", "Fingerprint"), ("licence", "Licence"))
            if corpus.get(key)
        ],
    }

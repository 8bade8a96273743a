"""The resolved recipe: enough to repeat the run."""

import re
from typing import Any

from markupsafe import Markup, escape

from ..reading import Run


def content(run: Run) -> dict[str, Any]:
    """The recipe as text, its keys marked."""
    if not run.recipe.strip():
        return {"missing": "The run folder has no recipe.yaml: a run writes it when it starts."}
    lines = run.recipe.strip("\n").split("\n")
    return {"text": Markup("\n").join(_marked(line) for line in lines), "lines": len(lines)}


def _marked(line: str) -> Markup:
    found = re.match(r"(\s*(?:- )?)([\w.\-/]+)(:(?: .*)?)$", line)
    if not found:
        return escape(line)
    indent, key, rest = found.groups()
    return Markup('{}<span class="key">{}</span>{}').format(indent, key, rest)

"""The encoder that a run begins with: a folder's, a registered one's, or the champion's."""

import shutil
from pathlib import Path
from typing import Any

from .. import registry
from ..errors import UserError
from ..train.start import FOLDER
from .run import Run


def bring(run: Run, wanted: str) -> dict[str, Any]:
    """Copy an encoder into the run's folder; returns where it came from, and `said` in words.

    Raises:
        UserError: there is no such encoder; a champion that does not exist yet is no error.
    """
    target = run.out / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    if wanted == "champion":
        champion = registry.Registry(run.track().uri).by_alias(run.model, alias(run))
        if champion is None:
            return {"uri": "", "said": f"random weights, since {run.model} has no champion yet"}
        wanted = champion.uri
    if wanted.startswith("models:/"):
        registry.Registry(run.track().uri).fetch(wanted, target)
    elif (Path(wanted) / "encoder.json").is_file():
        shutil.copytree(wanted, target)
    else:
        raise UserError(f"pretrain.start_from: no encoder in {wanted}; give the folder encoder/ of a run")
    return {"uri": wanted, "said": f"the weights of {wanted}"}


def alias(run: Run) -> str:
    """The alias of the champion."""
    return (run.recipe.registry and run.recipe.registry.champion) or "champion"

"""The embed stage: vectors of a whole corpus, as Parquet."""

from pathlib import Path
from typing import Any

from .. import paths
from ..corpus.manifest import Manifest
from .run import Run, settings
from .stage import Stage


def inputs(run: Run) -> dict[str, Any]:
    """Settings, and the corpus that is embedded."""
    assert run.recipe.embed is not None
    corpus = run.recipe.embed.corpus or run.folder
    return {**settings(run.recipe.embed, "embed"), "corpus": Manifest.read(corpus).fingerprint}


def work(run: Run) -> dict[str, Any]:
    """Embed what is not embedded yet."""
    from ..embedding import embed

    asked = run.recipe.embed
    assert asked is not None
    rows = embed(run.encoder, asked.corpus or run.folder, _folder(run), run.recipe.pretrain.gpu)
    return {"rows": rows, "said": f"{rows:,} rows in {paths.near(_folder(run))}"}


def _folder(run: Run) -> Path:
    assert run.recipe.embed is not None
    return Path(run.recipe.embed.out or run.out / "embeddings")


def missing(run: Run) -> str:
    """The folder, if it was removed."""
    return "" if _folder(run).is_dir() else f"{paths.near(_folder(run))} is not there any more"


STAGE = Stage("embed", inputs, work, missing)

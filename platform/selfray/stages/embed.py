"""The embed stage: vectors of a whole corpus, as Parquet."""

from pathlib import Path
from typing import Any

from .. import paths
from ..corpus.manifest import Manifest
from .run import Run, settings
from .stage import Stage


def inputs(run: Run) -> dict[str, Any]:
    """Settings, and the corpus that is embedded."""
    asked = run.recipe.embed
    assert asked is not None
    corpus = asked.corpus or run.folder
    left_out = () if asked.index else ("index",)  # what was embedded before there were indexes stays done
    return {**settings(asked, "embed", left_out), "corpus": Manifest.read(corpus).fingerprint}


def work(run: Run) -> dict[str, Any]:
    """Embed what is not embedded yet."""
    from ..embedding import embed

    asked = run.recipe.embed
    assert asked is not None
    rows = embed(run.encoder, asked.corpus or run.folder, _folder(run), run.recipe.pretrain.gpu, index=asked.index)
    said = f"{rows:,} rows{' and an index' if asked.index else ''} in {paths.near(_folder(run))}"
    return {"rows": rows, "said": said}


def _folder(run: Run) -> Path:
    assert run.recipe.embed is not None
    return Path(run.recipe.embed.out or run.out / "embeddings")


def missing(run: Run) -> str:
    """The folder or its index, if it was removed."""
    assert run.recipe.embed is not None
    wanted = _folder(run)
    if run.recipe.embed.index:
        from ..neighbors.index import NOTE

        wanted /= NOTE
    return "" if wanted.exists() else f"{paths.near(wanted)} is not there any more"


STAGE = Stage("embed", inputs, work, missing)

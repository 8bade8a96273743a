"""A query, as the vector that the encoder of a folder of embeddings gives it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..corpus import kinds, place
from ..corpus.bad import BadSample
from ..corpus.destination import REQUEST
from ..corpus.manifest import Manifest
from ..corpus.sources import Sample, open_source
from ..errors import UserError
from . import vectors
from .vectors import Vectors

LARGEST = 1 << 30  # bytes of a file


def noted(manifest: Manifest, corpus: str | Path) -> dict[str, Any]:
    """What a folder of embeddings notes of its corpus: names of classes, and how a file becomes a sample like its own.

    Text needs nothing but the tokenizer, which the encoder has. A corpus that was copied does not say by which settings
    it was prepared; then its shape decides, and the rest are defaults.
    """
    said: dict[str, Any] = {"kind": manifest.kind, "classes": list(manifest.classes)}
    if manifest.kind == "text":
        return said
    settled: dict[str, Any] = {"shape": list(manifest.shape), "encoding": "raw", "channels": manifest.channels}
    settings: dict[str, Any] = {}
    if rate := manifest.facts.get("rate"):
        settled["rate"] = rate
        settings = {"seconds": manifest.shape[0] / rate, "min_seconds": 1 / rate}
    if manifest.lake is not None:
        settings = manifest.lake.settings
    elif place.exists(corpus, REQUEST):
        settings = json.loads(place.storage(place.absolute(corpus)).read(REQUEST))["job"]["settings"]
    return said | {"prepare": {"settings": settings, "settled": settled}}


def id_of(query: str) -> int | None:
    """The number of `id:42`; None of another query.

    Raises:
        UserError: what follows `id:` is no whole number.
    """
    if not query.startswith("id:"):
        return None
    if not re.fullmatch(r"id:\d+", query):
        raise UserError(f"{query!r} names no sample; write id: and a whole number, such as id:42")
    return int(query[3:])


def embedded(query: str, note: dict[str, Any], folder: Path, model: str | None) -> Vectors:
    """The unit vector (1, width) of a file, or of a text where the encoder reads text.

    A file is prepared as those of the corpus were; of a longer sound or series the first segment is taken.

    Args:
        query: A file's path, or a text.
        note: What `_embedding.json` says.
        folder: The embeddings, for messages.
        model: The encoder, if not the one that is noted.

    Raises:
        UserError: there is no such file, it cannot be used, or the encoder is not the one of the embeddings.
    """
    import torch  # which a search for a sample of the folder need not wait for

    from .. import export

    where = model or note.get("model")
    if not where:
        raise UserError(f"{folder} does not say which encoder made it; name it with --model")
    config = _config(str(where), note, folder, given=model is not None)
    if config["kind"] == "text":
        from ..sentences import tokenizer

        inputs = tokenizer(where)([_text(query)])
    else:
        inputs = torch.from_numpy(sample_of(query, config["kind"], note, folder))
    with torch.inference_mode():
        return vectors.unit(export.load(where).embed(inputs).float().numpy())


def _config(where: str, note: dict[str, Any], folder: Path, given: bool) -> dict[str, Any]:
    """The encoder's config, if it is the encoder that the embeddings were made with."""
    from .. import export

    advice = "" if given else "; name the encoder with --model"
    try:
        config = export.read_config(export.fetched(where))
    except UserError as error:
        raise UserError(f"{error}{advice}") from None
    if config["weights_sha256"] != note.get("encoder"):
        raise UserError(f"the encoder at {where} has other weights than the one that made {folder}{advice}")
    return config


def _text(query: str) -> str:
    """The content of a text file, or the query itself."""
    file = Path(query)
    if not _is_file(file):
        if file.suffix == ".txt" and not re.search(r"\s", query):
            raise UserError(f"no file {query}; give a text file, a text in quotes, or id:NUMBER")
        text = query
    else:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{query} is no text in UTF-8") from None
    if not text.strip():
        raise UserError("the query is an empty text; write some words in quotes, or id:NUMBER")
    return text


def sample_of(query: str, kind: str, note: dict[str, Any], folder: Path) -> np.ndarray:
    """A file as a batch of one, as the corpus stores samples: (1, *shape) of the data type's numbers."""
    file = Path(query)
    if not _is_file(file):
        title = kinds.find(kind).title
        raise UserError(f"no file {query}; the encoder reads {title}, so give a file of them, or a sample as id:NUMBER")
    if "prepare" not in note:
        raise UserError(
            f"{folder} does not say how its samples were prepared; run `selfray embed` again, which notes it"
        )
    prepared = kinds.build(kind, note["prepare"]["settings"], note["prepare"]["settled"])
    try:
        rows = prepared.encode(Sample(0, file.name, _content(file, kind)))
    except BadSample as error:
        raise UserError(f"{query} cannot be searched with: {error}") from None
    if not rows:
        raise UserError(f"{query} cannot be searched with: nothing of it is left when it is prepared as the corpus was")
    fill = np.nan if np.issubdtype(np.dtype(prepared.dtype), np.floating) else prepared.facts.get("pad", 0)
    full = np.full((1, *prepared.shape), fill, prepared.dtype)
    full[0, : rows[0].length] = rows[0].values
    return full


def _content(file: Path, kind: str) -> bytes | np.ndarray | BadSample:
    """What a data type is given of a file: its bytes, or the one series that it holds."""
    if kind != "series":
        if file.stat().st_size > LARGEST:
            raise BadSample("too_long", f"more than {LARGEST >> 20} MiB")
        return file.read_bytes()
    source = open_source(file, kind)
    fragments = source.fragments(2)
    count = sum(fragment.rows for fragment in fragments)
    if count != 1:
        raise UserError(f"{file} holds {count} series; a query is one, so save it in a file by itself")
    data = next(iter(source.read(fragments[0]))).data
    return data.encode() if isinstance(data, str) else data


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a text may be longer than a name can be
        return False

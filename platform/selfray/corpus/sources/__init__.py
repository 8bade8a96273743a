"""Readers of raw data: one module a format, found by what the files look like."""

import sys
from pathlib import Path
from typing import Any

from ... import discovery
from ...errors import UserError
from .source import Fragment, Sample, Source, list_files

__all__ = ["Fragment", "Sample", "Source", "find", "open_source"]


def find(name: str) -> type[Source]:
    """The reader in `sources/<name>.py`."""
    return discovery.find(sys.modules[__name__], name, Source, without=("source",))


def open_source(path: str | Path, **settings: Any) -> Source:
    """The source at a path.

    Args:
        settings: arguments of the reader's constructor, such as Parquet's `image_column`; None counts as not given.

    Raises:
        UserError: nothing is there, no reader or more than one knows it, or the reader has no such setting.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"no source at {path}: there is no such file or folder")
    files = list_files(path.resolve())
    readers = [find(name) for name in discovery.names(sys.modules[__name__], without=("source",))]
    fitting = [reader for reader in readers if reader.accepts(files)]
    if not files:
        raise UserError(f"{path} is an empty folder")
    if not fitting:
        known = "; ".join(reader.supports for reader in readers)
        raise UserError(f"{path} holds nothing that can be read; readable are: {known}")
    if len(fitting) > 1:
        both = " and ".join(reader.supports for reader in fitting)
        raise UserError(f"{path} looks like {both}; point at a folder that holds only one of them")
    given = {key: value for key, value in settings.items() if value is not None}
    try:
        return fitting[0](path.resolve(), files, **given)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise UserError(f"{path} is read as {fitting[0].supports}, which has no {' or '.join(given)}") from None

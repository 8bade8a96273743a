"""Readers of raw data: one module a format, found by what the files look like."""

import sys
from typing import Any

from ... import discovery, signature
from ...errors import UserError
from .. import location
from ..location import Location
from .source import File, Fragment, Sample, Source, list_files

__all__ = ["Fragment", "Sample", "Source", "find", "open_source", "reader_of", "reader_settings"]


def find(name: str) -> type[Source]:
    """The reader in `sources/<name>.py`."""
    return discovery.find(sys.modules[__name__], name, Source, without=("source",))


def open_source(path: str | Location, kind: str | None = None, **settings: Any) -> Source:
    """The source at a path.

    Args:
        kind: the data type that the files hold, where they could hold several.
        settings: arguments of the reader's constructor, such as `label_column`; None counts as not given.

    Raises:
        UserError: nothing is there, no reader or more than one knows it, or the reader has no such setting.
    """
    reader, files = reader_of(path, kind)
    given = {key: value for key, value in settings.items() if value is not None}
    if unknown := given.keys() - set(reader_settings(reader)):
        raise UserError(f"{path} is read as {reader.supports}, which has no {' or '.join(sorted(unknown))}")
    if kind is not None and "kind" in reader_settings(reader):
        given["kind"] = kind
    return reader(location.at(path), files, **given)


def reader_of(path: str | Location, kind: str | None = None) -> tuple[type[Source], list[File]]:
    """The one reader that knows what is at a path, and the files there; errors as of `open_source`."""
    path = location.at(path)
    if not path.exists():
        raise UserError(f"no source at {path}: there is no such file or folder")
    files = list_files(path)
    readers = [find(name) for name in discovery.names(sys.modules[__name__], without=("source",))]
    fitting = [reader for reader in readers if reader.accepts(files, kind)]
    if not files:
        raise UserError(f"{path} is an empty folder")
    if not fitting:
        known = "; ".join(reader.supports for reader in readers)
        what = f"no {kind} data" if kind else "nothing"
        raise UserError(f"{path} holds {what} that can be read; readable are: {known}")
    if len(fitting) > 1:
        both = " and ".join(reader.supports for reader in fitting)
        raise UserError(
            f"{path} looks like {both}; say which with kind, or point at a folder that holds only one of them"
        )
    return fitting[0], files


def reader_settings(reader: type[Source]) -> list[str]:
    """The names of a reader's settings."""
    return list(signature.model(reader).model_fields)

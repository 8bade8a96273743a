"""Where things are: shipped YAML, the user's corpora, runs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from .errors import Temporary


def shipped(folder: str) -> Traversable:
    """A folder of shipped YAML: beside the code in a wheel, at the repository root in a checkout."""
    packaged = files("selfray") / folder
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / folder


def corpora() -> Path:
    """Where `corpus fetch` keeps prepared corpora: $SELFRAY_CORPORA, else ./corpora."""
    return Path(os.environ.get("SELFRAY_CORPORA", "corpora")).resolve()


def runs() -> Path:
    """Where runs leave everything they make: $SELFRAY_RUNS, else ./runs."""
    return Path(os.environ.get("SELFRAY_RUNS", "runs")).resolve()


def downloads() -> Path:
    """Packages that `corpus fetch` has downloaded: $XDG_CACHE_HOME/selfray, else ~/.cache/selfray."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")).resolve() / "selfray"


def near(path: str | Path) -> str:
    """A path as short as it can be said from here; an address as it is."""
    if "://" in str(path):
        return str(path)
    relative = os.path.relpath(path)
    return relative if not relative.startswith("../..") else str(path)


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Refuse a second process in the folder of a run or sweep.

    Raises:
        Temporary: there is one.
    """
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Temporary(f"another process is running in {near(out)}; wait for it or give another --out") from None
        yield

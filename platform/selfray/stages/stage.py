"""What a stage is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .run import Run


@dataclass(frozen=True)
class Stage:
    """A name and two functions; everything else, such as skipping, retries and notes, belongs to the engine."""

    name: str
    inputs: Callable[[Run], dict[str, Any]]
    """All that the result depends on, under dotted keys; cheap, since it is asked of every stage of every run."""
    work: Callable[[Run], dict[str, Any]]
    """Does it, or goes on with it; returns plain values, `said` among them: what came of it in a few words."""
    missing: Callable[[Run], str] = lambda run: ""
    """What is not there any more of an earlier result, or nothing."""
    taken: Callable[[Run, dict[str, Any]], None] = lambda run, note: None
    """Called with the note once the result is there, made now or before."""
    begin: Callable[[Run, dict[str, Any]], None] = lambda run, before: None
    """Called with the earlier note before the work begins, while the folder still says what is in it."""

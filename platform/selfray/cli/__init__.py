"""The command line: thin, and quick to answer because heavy libraries are imported only where they are used."""

from . import corpus, export, look, models, neighbors, registry, run, schedule, sweep
from .app import app, main

__all__ = ["app", "corpus", "export", "look", "main", "models", "neighbors", "registry", "run", "schedule", "sweep"]

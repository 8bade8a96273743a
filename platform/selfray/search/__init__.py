"""Sweeps: Ray Tune over whole pretraining runs. `space.py` says what is searched, `sweep.py` does it."""

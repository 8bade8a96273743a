"""Pretraining: one plain loop, run in this process or by Ray Train workers."""

"""Pipelines that run by themselves: when they are due, who runs them, and what production should use instead."""

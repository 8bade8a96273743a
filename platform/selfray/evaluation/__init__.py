"""Judging an encoder: its frozen features, probes beside baselines, label-free scores."""

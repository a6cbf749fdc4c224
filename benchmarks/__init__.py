"""Measurements as ratios: each against a rival or floor in the same run."""

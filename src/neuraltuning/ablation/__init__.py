"""Ablations: a grid of runs from one YAML, each run once, compared in pairs over seeds and items."""

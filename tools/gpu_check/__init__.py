"""Checks everything that needs a GPU, in at most eight minutes: `python -m tools.gpu_check --out FILE.json`."""

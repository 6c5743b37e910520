"""Checks of what the engine promises: the same text, the same law."""

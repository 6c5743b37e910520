"""Checks of what the engine promises: the same text, or the same distribution."""

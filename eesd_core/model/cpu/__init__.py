"""The target on a processor."""

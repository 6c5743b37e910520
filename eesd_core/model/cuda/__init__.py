"""The target on a GPU."""

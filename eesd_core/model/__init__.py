"""The model: loading it, splitting it into layer ranges, and its KV cache."""

"""The model: loading, the split into layer ranges, the KV cache, the exit layer."""

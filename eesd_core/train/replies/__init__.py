"""A chat model's own replies to many kinds of requests, written in batches and kept: what its heads learn from."""

"""A chat model's own replies to many kinds of requests, written in batches and kept: the training data of its heads."""

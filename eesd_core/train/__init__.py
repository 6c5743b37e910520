"""Training: the embedded model and its tokenizer, the exit layer and the other heads."""

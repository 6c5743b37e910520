"""Training of the embedded model: corpus, tokenizer, pre-training, self-distillation of the exit layer."""

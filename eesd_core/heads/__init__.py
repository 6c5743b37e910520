"""Heads: modules that read hidden states and predict tokens for drafting."""

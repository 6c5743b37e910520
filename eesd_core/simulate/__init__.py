"""Simulations of other draft lengths, controllers and skip sets."""

"""What other draft lengths and controllers would have done on a text."""

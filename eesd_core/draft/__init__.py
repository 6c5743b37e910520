"""Drafters propose tokens. They accept none, ask no controller and emit no events. One file each; the table is registry.py."""

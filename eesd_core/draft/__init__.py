"""Drafters: who proposes tokens. They never accept any, ask no controller and emit no events. One file each; the table is registry.py."""

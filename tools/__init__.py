"""Measuring the app."""

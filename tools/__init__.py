"""Measuring the app, and recording what the page and the README show."""

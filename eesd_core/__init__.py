"""Early-exiting speculative decoding (EESD, arXiv 2406.03853): lossless, observable, small enough to read in an afternoon."""

from importlib import import_module

_HOMES = {
    "Engine": "engine", "Request": "request", "Sampling": "sampling", "UserError": "errors", "load_engine": "loading", "race": "racing",
}  # fmt: skip
__all__ = list(_HOMES)


def __getattr__(name: str):
    """Imports a public name on first use: importing torch takes seconds, and `--help` or a wrong flag does not need it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)

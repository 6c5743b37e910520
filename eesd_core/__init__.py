"""Early-exiting speculative decoding (EESD, arXiv 2406.03853): lossless, observable, small enough to read in an afternoon."""

from .lazily import importer

_HOMES = {
    "Engine": "engine", "Request": "request", "Sampling": "sampling", "UserError": "errors", "load_engine": "loading", "race": "racing",
}  # fmt: skip
__all__ = list(_HOMES)
__getattr__ = importer(__name__, _HOMES)

"""The benchmark: methods side by side on the same model, the same prompts and the same machine. See docs/benchmark.md.

`bench` runs a suite to its end and writes the report; `Benchmark.run` is the same as a generator, for callers that show progress in their
own way; `latest_report` finds the last report; `compare` says how far two reports agree.
"""

from ..lazily import importer

_HOMES = {
    "Benchmark": "benchmark", "Prompt": "prompts", "bench": "benchmark", "check_suite": "suites", "compare": "agreement",
    "latest_report": "latest", "load_prompts": "prompts", "own_request": "methods", "parse_method": "methods", "plan": "benchmark",
    "read_prompts": "prompts",
}  # fmt: skip
__all__ = list(_HOMES)
__getattr__ = importer(__name__, _HOMES)

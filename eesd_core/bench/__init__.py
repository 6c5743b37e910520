"""The benchmark: methods side by side on the same model, the same prompts and the same machine. See docs/benchmark.md.

`bench` runs a suite to its end and writes the report; `Benchmark.run` is the same as a generator, for callers that show progress in their
own way; `latest_report` finds the last report; `compare` says how far two reports agree.
"""

from .agreement import compare
from .benchmark import Benchmark, bench, plan
from .latest import latest_report
from .methods import own_request, parse_method
from .prompts import Prompt, load_prompts, read_prompts

__all__ = [
    "Benchmark", "Prompt", "bench", "compare", "latest_report", "load_prompts",
    "own_request", "parse_method", "plan", "read_prompts",
]

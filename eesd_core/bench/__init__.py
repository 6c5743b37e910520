"""The benchmark: methods side by side on the same model, the same prompts and the same machine, in one process. See docs/benchmark.md.

`bench` runs a suite to its end and writes the report; `measure` is the same as a generator, for whoever shows progress elsewhere;
`latest_report` finds what was measured last; `compare` says how far two reports agree.
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

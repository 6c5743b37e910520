"""Commands that measure and prove: `bench`, `identity`, `same-law`."""

import json
import sys
from itertools import product
from pathlib import Path

from ..errors import UserError
from ..replacing import replaced
from .flags import Shared, check_writable, given, load_engine, number, path, sampling_of, whole


def add_commands(commands, shared: Shared) -> None:
    model, said, draws, *_ = shared
    about = "methods side by side on the same prompts, interleaved; a report as JSON, CSV and one HTML file"
    bench = commands.add_parser("bench", parents=[draws, model], help=about)
    suites = "default, full, thompson, sensitivity, distillation, length, temperature (docs/benchmark.md); gpu: pace against the hardware's"
    suites += "; batch: several texts in the same passes, with and without padding"
    bench.add_argument("--suite", default="default", metavar="NAME", help=suites)
    files = "JSON Lines with a `prompt` field, or Spec-Bench's (default: 60 of its own)"
    bench.add_argument("--prompts", type=path, metavar="FILE", help=files)
    bench.add_argument("--limit", type=whole, metavar="N", help="use the first N prompts")
    which = "controllers as --controller, vanilla, hf, prompt-lookup, layer-skip, ... (docs/benchmark.md)"
    bench.add_argument("--methods", metavar="A,B", help=which)
    turns = "how often everything runs, every second time in reverse order, A B B A (default: 2)"
    bench.add_argument("--repeats", type=whole, default=2, metavar="R", help=turns)
    bench.add_argument("--max-new-tokens", type=whole, default=64, metavar="N", help="(default: 64)")
    kept = "reports, and unfinished work to go on with (default: runs/bench)"
    bench.add_argument("--out", type=path, default=Path("runs/bench"), metavar="DIR", help=kept)
    two = "no run: print how far the speedups of two reports agree (folders that bench wrote)"
    bench.add_argument("--compare", type=path, nargs=2, metavar="REPORT", help=two)
    where = "the report as the last line of stdout, or into FILE"
    bench.add_argument("--json", type=given, nargs="?", const=True, metavar="FILE", help=where)

    same = commands.add_parser(
        "identity", parents=[model, said], help="does EESD write what vanilla writes? Over many prompts, token by token"
    )
    same.add_argument("--prompts", type=path, nargs="+", required=True, metavar="FILE", help="JSON Lines with a `prompt` field")
    same.add_argument("--limit", type=whole, metavar="N", help="use the first N prompts of every file")
    same.add_argument("--methods", default="beta,throughput,fixed:4", metavar="A,B", help="as --controller")
    same.add_argument("--temperatures", type=number, nargs="+", default=[0.0, 0.7, 1.0], metavar="T", help="above 0 with shared noise")
    same.add_argument("--max-new-tokens", type=whole, default=128, metavar="N", help="(default: 128)")
    same.add_argument("--out", type=path, required=True, metavar="FILE", help="results, line by line; taken up again from here")

    law = commands.add_parser(
        "same-law",
        parents=[draws, model, said],
        help="is rejection sampling fair? Many short draws, temperature above 0",
    )
    law.add_argument("prompt")
    law.add_argument("--chat", action="store_true", help="the prompt is a request to reply to")
    law.add_argument("--draws", type=whole, default=500, metavar="N", help="by each of the two")


def bench(arguments) -> int:
    from ..bench import bench as run_bench
    from ..bench import check_suite, compare, load_prompts, parse_method, plan
    from ..bench.batch_suite import batch_suite
    from ..bench.gpu_suite import gpu_suite

    a = arguments
    if isinstance(a.json, str):
        check_writable(Path(a.json), "the report")
    if a.compare:
        return said(compare(*a.compare), a.json)
    if a.suite == "gpu":
        return said(gpu_suite(a.device), a.json)
    sampling = sampling_of(a)
    prompts = load_prompts(a.prompts, a.limit)
    methods = [name.strip() for name in a.methods.split(",")] if a.methods is not None else None
    for name in methods or ():
        parse_method(name)  # a wrong name is reported now, not after loading
    check_suite(a.suite, methods, a.repeats)
    engine = load_engine(a)
    if a.suite == "batch":
        return said(batch_suite(engine, prompts, methods, sampling, a.max_new_tokens, a.repeats), a.json)
    groups = plan(engine, a.suite, prompts, methods, sampling, a.max_new_tokens, a.repeats)
    return said(run_bench(engine, a.suite, groups, a.out), a.json)


def said(report: dict, where: bool | str | None) -> int:
    """Write the report as the last line of stdout, or to a file. Raises UserError."""
    if where is True:
        print(json.dumps(report))
    elif where:
        try:
            with replaced(Path(where)) as part:
                part.write_text(json.dumps(report) + "\n", encoding="ascii")
        except OSError as problem:
            raise UserError(f"the report cannot be written to {where}: {problem.strerror}") from None
    return 0


def identity(arguments) -> int:
    from ..bench import own_request
    from ..checks.identity import identity as run_identity
    from ..checks.identity import prompts_that_fit
    from ..draws import Sampling

    methods = [name.strip() for name in arguments.methods.split(",")]
    for method, temperature in product(methods, arguments.temperatures):  # a mistake is said now, and leaves no file behind
        own_request(method, "x", arguments.max_new_tokens, Sampling(temperature))
    engine = load_engine(arguments)
    prompts = prompts_that_fit(engine, arguments.prompts, arguments.limit, arguments.max_new_tokens)
    report = run_identity(engine, prompts, arguments.temperatures, methods, arguments.max_new_tokens, arguments.out)
    if arguments.json:
        print(json.dumps(report))
    return int(report["unexplained"] > 0)


def same_law(arguments) -> int:
    from ..checks.same_law import same_law as compare
    from ..request import Request

    a = arguments
    if a.draws < 1:
        raise UserError(f"--draws must be at least 1, not {a.draws}")
    if a.acceptance == "shared-noise":
        raise UserError("same-law puts rejection sampling to the test: leave out --acceptance shared-noise")
    request = Request(a.prompt, sampling=sampling_of(a), chat=a.chat)
    for found in compare(load_engine(a), request, a.draws):
        print(f"{found.drawn} of {found.wanted} draws", file=sys.stderr)
    rows = {f"token {number + 1}": place.distance for number, place in enumerate(found.places)} | {"together": found.together}
    print(f"{found.drawn} draws by each, {found.acceptance:.0%} of tested drafts accepted; total variation between the two:")
    for name, d in rows.items():
        print(f"{name:>9}  {d.measured:.3f}; chance alone gives {d.chance:.3f}, in 95 of 100 cases below {d.most:.3f}; p = {d.p:.3f}")
    if a.json:
        print(json.dumps(found.to_json()))
    return 0


COMMANDS = {"bench": bench, "identity": identity, "same-law": same_law}

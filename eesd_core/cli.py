"""The command line. Every failure a user can mend is one line on stderr and exit status 2."""

import argparse
import json
import os
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

from .control import CONTROLLERS, make_controller, parse_controller
from .control.base import MAX_DRAFT
from .errors import UserError
from .terminal import printable


class Parser(argparse.ArgumentParser):
    """argparse without the usage block: an error is one line."""

    def error(self, message: str):
        complain(f"{message} (see {self.prog} --help)")
        sys.exit(2)


def complain(message: str) -> None:
    """One line, whatever a path or a file put into it."""
    print(f"error: {' '.join(printable(message).split())}", file=sys.stderr)


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text[:40]!r}") from None


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text[:40]!r}") from None


def build_parser() -> Parser:
    parser = Parser(prog="python -m eesd_core", description="Early-exiting speculative decoding, lossless and observable.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    model = Parser(add_help=False)
    model.add_argument("--model", metavar="PATH_OR_ID", help="folder or Hub id[@revision] (default: the embedded model)")
    where = "folder or Hub id[@revision] of its exit layer (default: the model's folder); frozen:N for the model's own head after N layers"
    model.add_argument("--exit-layer", metavar="DIR_OR_ID", help=where)
    model.add_argument("--quantize", choices=["none", "4bit", "8bit"], default="none", help="weights by bitsandbytes, on CUDA and on a CPU")
    model.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    model.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    said = Parser(add_help=False)
    said.add_argument("--json", action="store_true", help="one JSON object as the last line of stdout")

    draws = Parser(add_help=False)
    draws.add_argument("--temperature", type=number, default=0.0, metavar="T", help="0 is greedy")
    draws.add_argument("--top-k", type=whole, default=0, metavar="K", help="draw from the K likeliest tokens (0: all)")
    draws.add_argument("--top-p", type=number, default=1.0, metavar="P", help="from the likeliest ones that reach probability P together")
    draws.add_argument("--min-p", type=number, default=0.0, metavar="P", help="from those at least P times as likely as the likeliest")
    rule = "shared-noise writes vanilla's text token for token, rejection keeps its distribution"
    draws.add_argument("--acceptance", choices=["shared-noise", "rejection"], default="shared-noise", help=rule)
    draws.add_argument("--seed", type=whole, default=0, metavar="S")

    text = Parser(add_help=False)
    text.add_argument("prompt")
    text.add_argument("--chat", action="store_true", help="the prompt is a request to reply to, instead of an opening to continue")
    text.add_argument("--max-new-tokens", type=whole, default=128, metavar="N")
    how = f"one of {', '.join(CONTROLLERS)}; settings follow, as in threshold:0.3 or beta:draw=round:forget=0.95"
    text.add_argument("--controller", default="throughput", metavar="NAME[:SETTING=VALUE]", help=f"{how} (default: throughput)")
    text.add_argument("--draft-length", type=whole, metavar="K", help=f"drafts a round, 0 to {MAX_DRAFT}: implies --controller fixed")
    drafters = "early-exit, prompt-lookup[:LONGEST], layer-skip[:SKIPPED] as in layer-skip:a3.m3.m4, or disturbed:P:N: early exit, from "
    drafters += "new token N on random with probability P (default: early-exit)"
    text.add_argument("--drafter", default="early-exit", metavar="NAME", help=drafters)
    text.add_argument("--prior", type=number, nargs=2, metavar=("ALPHA", "BETA"), help="prior of its Beta posterior (default 1 1)")

    traced = Parser(add_help=False)
    traced.add_argument("--trace", metavar="FILE", help="write every event as NDJSON")

    generate = commands.add_parser("generate", parents=[text, draws, traced, model, said], help="write a continuation")
    generate.add_argument("--method", choices=["eesd", "vanilla"], default="eesd")
    commands.add_parser("race", parents=[text, draws, traced, model, said], help="EESD beside vanilla on one device: verdict and speedup")
    record = commands.add_parser("record", parents=[text, draws, model, said], help="write a race that the page can open on")
    record.add_argument("--out", type=Path, required=True, metavar="FILE")
    replay = commands.add_parser("replay", parents=[said], help="show a trace in the terminal, at the speed it was made")
    replay.add_argument("trace", type=Path, metavar="TRACE")
    replay.add_argument("--speed", type=number, default=1.0, metavar="X", help="recorded seconds a second; 0 is at once (default: 1)")
    export = commands.add_parser("export", help="a trace as one offline HTML file, a Perfetto trace, or a CSV of its rounds")
    export.add_argument("trace", type=Path, metavar="TRACE")
    export.add_argument("--format", choices=["html", "perfetto", "csv"], required=True)
    export.add_argument("--out", type=Path, required=True, metavar="FILE")
    commands.add_parser("doctor", parents=[model, said], help="what this machine does: dtype, threads, row invariance, costs")

    about = "methods side by side on the same prompts, interleaved; a report as JSON, CSV and one HTML file"
    bench = commands.add_parser("bench", parents=[draws, model], help=about)
    suites = "default, full, thompson, distillation, length or temperature (docs/benchmark.md); gpu: pace against the hardware's"
    bench.add_argument("--suite", default="default", metavar="NAME", help=suites)
    files = "JSON Lines with a `prompt` field, or Spec-Bench's (default: 60 of its own)"
    bench.add_argument("--prompts", type=Path, metavar="FILE", help=files)
    bench.add_argument("--limit", type=whole, metavar="N", help="use the first N prompts")
    which = "controllers as --controller, vanilla, hf, prompt-lookup, layer-skip, ... (docs/benchmark.md)"
    bench.add_argument("--methods", metavar="A,B", help=which)
    bench.add_argument("--repeats", type=whole, default=2, metavar="R", help="every second one in reverse order (A B B A)")
    bench.add_argument("--max-new-tokens", type=whole, default=64, metavar="N")
    bench.add_argument("--out", type=Path, default=Path("runs/bench"), metavar="DIR", help="reports, and unfinished work to go on with")
    two = "no run: print how far the speedups of two reports agree (folders that bench wrote)"
    bench.add_argument("--compare", type=Path, nargs=2, metavar="REPORT", help=two)
    bench.add_argument("--json", nargs="?", const=True, metavar="FILE", help="the report as the last line of stdout, or into FILE")

    same = commands.add_parser(
        "identity", parents=[model, said], help="does EESD write what vanilla writes? Over many prompts, token by token"
    )
    same.add_argument("--prompts", type=Path, nargs="+", required=True, metavar="FILE", help="JSON Lines with a `prompt` field")
    same.add_argument("--limit", type=whole, metavar="N", help="use the first N prompts of every file")
    same.add_argument("--methods", default="beta,throughput,fixed:4", metavar="A,B", help="as --controller")
    same.add_argument("--temperatures", type=number, nargs="+", default=[0.0, 0.7, 1.0], metavar="T", help="above 0 with shared noise")
    same.add_argument("--max-new-tokens", type=whole, default=128, metavar="N")
    same.add_argument("--out", type=Path, required=True, metavar="FILE", help="results, line by line; taken up again from here")

    law = commands.add_parser(
        "same-law", parents=[draws, model, said], help="is rejection sampling fair? Many short draws, temperature above 0"
    )
    law.add_argument("prompt")
    law.add_argument("--chat", action="store_true", help="the prompt is a request to reply to")
    law.add_argument("--draws", type=whole, default=500, metavar="N", help="by each of the two")

    base = commands.add_parser("train-base", help="train the embedded model (tokenizer, corpus, pre-training)")
    base.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of .jsonl[.xz] files")
    base.add_argument("--work", type=Path, default=Path("runs/base"), metavar="DIR", help="packed text and checkpoints; resumes from here")
    base.add_argument("--start", type=Path, metavar="DIR", help="a checkpoint to go on from, with its tokenizer (default: from nothing)")
    base.add_argument("--out", type=Path, default=Path("runs/model"), metavar="DIR", help="where the finished checkpoint goes")
    base.add_argument("--tokens", type=number, default=20e6, metavar="N", help="training tokens in all; may be changed on resume")
    base.add_argument("--window", type=whole, default=256, metavar="T", help="tokens a training row")
    base.add_argument("--rows", type=whole, default=32, metavar="B", help="rows a step")
    base.add_argument("--rate", type=number, default=4e-3, help="learning rate of the constant part")
    base.add_argument("--warmup", type=whole, default=100, metavar="STEPS", help="over which the rate rises to it")
    base.add_argument("--cooldown", type=number, default=0.3, help="share of the tokens over which the learning rate falls to zero")
    base.add_argument("--exit-pull", type=number, default=0.0, help="weight of the model's pull towards what its exit layer can foresee")
    base.add_argument("--unlikelihood", type=number, default=0.0, help="share of the last stage's rows that teach it not to repeat itself")
    base.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")

    mixing = commands.add_parser("mix", help="weights between two models of one training history")
    mixing.add_argument("first", type=Path, metavar="DIR")
    mixing.add_argument("second", type=Path, metavar="DIR")
    mixing.add_argument("--share", type=number, default=0.5, help="of the second model")
    mixing.add_argument("--out", type=Path, required=True, metavar="DIR")

    lessons = Parser(add_help=False)
    lessons.add_argument("--model", metavar="PATH_OR_ID", help="the frozen model (default: the embedded model)")
    lessons.add_argument("--quantize", choices=["none", "4bit", "8bit"], default="none", help="of the frozen model")
    lessons.add_argument("--prompts", type=Path, metavar="FILE", help="JSON Lines with a `prompt` field (default: the project's own)")
    lessons.add_argument("--data", type=Path, nargs="+", metavar="DIR", help="or folders of text whose parts become prompts")
    lessons.add_argument("--work", type=Path, default=Path("runs/distill"), metavar="DIR", help="the model's texts; resumes from here")
    lessons.add_argument("--out", type=Path, required=True, metavar="DIR")
    lessons.add_argument("--generations", type=whole, default=4096, metavar="G", help="texts the model writes to learn from")
    lessons.add_argument("--prompt-tokens", type=whole, default=32, metavar="N", help="longest prompt")
    lessons.add_argument("--new-tokens", type=whole, default=224, metavar="N", help="that the model writes after each")
    lessons.add_argument("--steps", type=whole, default=1500, metavar="S", help="may be changed on resume")
    lessons.add_argument("--hard", type=number, default=0.0, metavar="H", help="share of hard targets in the loss, 0 to 1")
    lessons.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    distill = commands.add_parser("distill", parents=[lessons], help="train an exit layer on the model's own text (self-distillation)")
    distill.add_argument("--exit-after", type=whole, required=True, metavar="N", help="the exit layer stands on the first N layers")
    sweep = commands.add_parser("sweep", parents=[lessons], help="exit depth against acceptance, cost, speedup: `distill` at every depth")
    sweep.add_argument("--depths", type=whole, nargs="+", metavar="N", help="exit depths (default: 1, and eighths of the model up to half)")

    push = commands.add_parser("push", help="publish an exit layer on the Hugging Face Hub")
    push.add_argument("folder", type=Path, help="what `distill` wrote")
    push.add_argument("repository", help="owner/name")
    push.add_argument("--private", action="store_true")

    evaluate = commands.add_parser(
        "evaluate", parents=[model, said], help="how good model and exit layer are: loss, loops, agreement, samples"
    )
    evaluate.add_argument("--validation", type=Path, metavar="FILE", help="JSON Lines with a `text` field, for bits per character")
    evaluate.add_argument("--prompts", type=Path, metavar="FILE", help="JSON Lines with a `prompt` field (default: the page's examples)")
    evaluate.add_argument("--max-new-tokens", type=whole, default=256, metavar="N")
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # text in any language must print on any terminal
    try:
        return COMMANDS[arguments.command](arguments)
    except UserError as problem:
        complain(str(problem))
        return 2
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered must not go to the pipe
        return 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def load_engine(arguments, exit_layer: bool = True):
    """Model, exit layer and self-check, as the flags ask. torch is imported here, so that --help is instant."""
    from .loading import load_engine as load
    from .model.parallel import is_first

    flags = arguments.model, arguments.exit_layer, arguments.device, arguments.dtype, arguments.quantize
    engine = load(*flags, need_exit_layer=exit_layer)
    if not is_first():  # of several processes that run one model (torchrun), one speaks
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if exit_layer and engine.exit_layer.note:
        print(f"note: {printable(engine.exit_layer.note)}", file=sys.stderr)
    return engine


def sampling_of(arguments):
    from .sampling import Sampling

    a = arguments
    return Sampling(a.temperature, a.top_p, a.seed, a.top_k, a.min_p, a.acceptance)


def request_of(arguments, method: str = "eesd"):
    from .engine import Request

    controller, settings = parse_controller(arguments.controller, arguments.seed)
    if arguments.draft_length is not None:
        controller, settings = "fixed", {"length": arguments.draft_length}
    if arguments.prior:
        settings |= {"alpha": arguments.prior[0], "beta": arguments.prior[1]}
    make_controller(controller, **settings)  # refuses bad settings now, not after loading
    sampling = sampling_of(arguments)
    a = arguments
    return Request(a.prompt, a.max_new_tokens, sampling, method, controller, settings, a.chat, a.drafter)


def generate(arguments) -> int:
    from .trace import Metrics, write_trace

    request = request_of(arguments, arguments.method)
    if arguments.trace:
        write_trace(Path(arguments.trace), [])  # before the work: a path that cannot be written must not cost a run
    engine = load_engine(arguments, arguments.method == "eesd")
    records, show = [], lambda text: sys.stdout.write(printable(text))
    show(request.prompt)
    for record in engine.run(request):
        records.append(record)
        if record.event.type == "tokens_committed":
            show(record.event.text)
            sys.stdout.flush()
    metrics = Metrics.fold(records, request.method).to_json()
    show(f"\n\n{metrics['new_tokens']} tokens in {metrics['seconds']:.2f} s: {metrics['tokens_per_second']:.1f} tokens/s")
    show(f", {metrics['mean_accepted_length']:.2f} tokens per round\n" if request.method == "eesd" else "\n")
    if arguments.trace:
        write_trace(Path(arguments.trace), records)
    if arguments.json:
        print(json.dumps({"method": request.method, "controller": controller_of(request), "dtype": dtype_of(engine)} | metrics))
    return 0


def race(arguments) -> int:
    from .race import race as run_race
    from .terminal import Painter
    from .trace import Metrics, write_trace

    request = request_of(arguments)
    if arguments.trace:
        write_trace(Path(arguments.trace), [])
    engine = load_engine(arguments)
    painter, records = Painter(sys.stdout), []
    for record in run_race(engine, request):
        records.append(record)
        painter.show(record)
    lanes = {lane: Metrics.fold(records, lane).to_json() for lane in ("vanilla", "eesd")}
    verdict = records[-1].event
    painter.summary(lanes, verdict)
    if arguments.trace:
        write_trace(Path(arguments.trace), records)
    if arguments.json:
        head = {"identical": verdict.identical, "level": verdict.level, "first_difference": verdict.first_difference}
        head |= {"speedup": verdict.speedup, "controller": controller_of(request), "dtype": dtype_of(engine)}
        print(json.dumps(head | lanes))
    return 0


def record(arguments) -> int:
    from .hindsight import hindsight
    from .recording import record_race, write_recording
    from .trace import Metrics

    request = request_of(arguments)
    engine = load_engine(arguments)
    records = record_race(engine, request)
    speedup = records[-1].event.speedup
    records += filter(None, [hindsight(engine, request, records)])
    write_recording(arguments.out, engine.target.device, records)
    facts = {"records": len(records), "bytes": arguments.out.stat().st_size, "speedup": speedup}
    facts["text"] = Metrics.fold(records, "eesd").text
    for name, value in facts.items():
        print(f"{name:>8}  {printable(str(value))}")
    if arguments.json:
        print(json.dumps(facts))
    return 0


def replay(arguments) -> int:
    from .export import open_trace
    from .export.playback import play

    if not 0 <= arguments.speed <= 1000:
        raise UserError(f"--speed must be a number from 0 to 1000, not {arguments.speed:g}")
    facts = play(open_trace(arguments.trace), sys.stdout, arguments.speed)
    if arguments.json:
        print(json.dumps(facts))
    return 0


def export(arguments) -> int:
    from .export import export as make
    from .export import open_trace, write_export

    write_export(arguments.out, make(open_trace(arguments.trace), arguments.format))
    print(f"{printable(str(arguments.out))}: {arguments.out.stat().st_size:,} bytes")
    return 0


def same_law(arguments) -> int:
    from .engine import Request
    from .same_law import same_law as compare

    a = arguments
    if a.draws < 1:
        raise UserError(f"--draws must be at least 1, not {a.draws}")
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


def doctor(arguments) -> int:
    from .engine import versions
    from .exactness import EXPLANATION

    began = time.perf_counter()
    engine = load_engine(arguments)
    facts = {"model": engine.target.name, "device": str(engine.target.device), "dtype": dtype_of(engine), "level": engine.level}
    facts |= {"layers": engine.target.depth, "exit_after": engine.exit_layer.exit_after, "load_seconds": time.perf_counter() - began}
    facts |= {"costs": engine.measured.to_json(), "versions": versions()}
    for name, value in facts.items():
        print(f"{name:>13}  {value:.3f}" if isinstance(value, float) else f"{name:>13}  {value}")
    print(f"\n{textwrap.fill(EXPLANATION, 100)}")
    if arguments.json:
        print(json.dumps(facts))
    return 0


def bench(arguments) -> int:
    from .bench import bench as run_bench
    from .bench import compare, load_prompts, parse_method, plan
    from .gpu_suite import gpu_suite

    a = arguments
    if a.compare:
        return said(compare(*a.compare), a.json)
    if a.suite == "gpu":
        return said(gpu_suite(a.device), a.json)
    sampling = sampling_of(a)
    prompts = load_prompts(a.prompts, a.limit)
    methods = [name.strip() for name in a.methods.split(",")] if a.methods else None
    for name in methods or ():
        parse_method(name)  # a wrong name is said now, not after loading
    engine = load_engine(a)
    groups = plan(engine, a.suite, prompts, methods, sampling, a.max_new_tokens, a.repeats)
    return said(run_bench(engine, a.suite, groups, a.out), a.json)


def said(report: dict, where: bool | str | None) -> int:
    """As the last line of stdout, or into a file."""
    if where is True:
        print(json.dumps(report))
    elif where:
        try:
            Path(where).write_text(json.dumps(report) + "\n", encoding="ascii")
        except OSError as problem:
            raise UserError(f"the report cannot be written to {where}: {problem.strerror}") from None
    return 0


def identity(arguments) -> int:
    from .identity import identity as run_identity
    from .identity import prompts_that_fit

    engine = load_engine(arguments)
    prompts = prompts_that_fit(engine, arguments.prompts, arguments.limit, arguments.max_new_tokens)
    methods = [name.strip() for name in arguments.methods.split(",")]
    report = run_identity(engine, prompts, arguments.temperatures, methods, arguments.max_new_tokens, arguments.out)
    if arguments.json:
        print(json.dumps(report))
    return int(report["unexplained"] > 0)


def train_base(arguments) -> int:
    from .train.pretrain import PretrainConfig, train_base

    shape = {"window": arguments.window, "rows": arguments.rows}
    rates = {"learning_rate": arguments.rate, "warmup_steps": arguments.warmup, "cooldown": arguments.cooldown}
    aims = {"exit_pull": arguments.exit_pull, "unlikelihood": arguments.unlikelihood}
    config = replace(PretrainConfig(), tokens=int(arguments.tokens), **shape, **rates, **aims)
    train_base(arguments.data, arguments.work, arguments.start, arguments.out, config, arguments.device)
    return 0


def mix(arguments) -> int:
    from .train.mix import mix

    mix(arguments.first, arguments.second, arguments.share, arguments.out)
    print(f"written to {arguments.out}")
    return 0


def evaluate(arguments) -> int:
    from .train.evaluate import evaluate

    engine = load_engine(arguments)
    report = evaluate(engine.target, engine.exit_layer, arguments.validation, arguments.prompts, arguments.max_new_tokens)
    if arguments.json:
        print(json.dumps(report))
    return 0


def distill(arguments) -> int:
    from .train.distill import DistillConfig, distill

    a = arguments
    config = DistillConfig(a.exit_after, a.generations, a.prompt_tokens, a.new_tokens, steps=a.steps, hard=a.hard)
    distill(a.model, a.data, a.prompts, a.work, a.out, config, a.device, a.quantize)
    return 0


def sweep(arguments) -> int:
    from .train.distill import DistillConfig
    from .train.sweep import sweep as run_sweep

    a = arguments
    config = DistillConfig(1, a.generations, a.prompt_tokens, a.new_tokens, steps=a.steps, hard=a.hard)
    run_sweep(a.model, a.depths, a.data, a.prompts, a.work, a.out, config, a.device, a.quantize)
    return 0


def push(arguments) -> int:
    from .model.hub import push as push_to_hub

    print(push_to_hub(arguments.folder, arguments.repository, arguments.private))
    return 0


def controller_of(request) -> dict | None:
    return {"name": request.controller} | request.settings if request.method == "eesd" else None


def dtype_of(engine) -> str:
    return engine.target.precision


COMMANDS = {
    "generate": generate, "race": race, "record": record, "replay": replay, "export": export,
    "doctor": doctor, "bench": bench, "identity": identity, "same-law": same_law,
    "train-base": train_base, "mix": mix, "distill": distill, "sweep": sweep, "push": push, "evaluate": evaluate,
}  # fmt: skip

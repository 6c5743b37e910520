"""Commands for single runs and their traces, and `doctor`."""

import json
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

from ..errors import UserError
from .flags import Parser, Shared, check_writable, controller_of, dtype_of, given, load_engine, number, path, request_of, traced
from .terminal import printable


def add_commands(commands, shared: Shared) -> None:
    model, said, draws, _, text = shared
    traced = Parser(add_help=False)
    traced.add_argument("--trace", type=given, metavar="FILE", help="write every event as NDJSON")

    generate = commands.add_parser("generate", parents=[text, draws, traced, model, said], help="write a continuation")
    generate.add_argument("--method", choices=["eesd", "vanilla"], default="eesd")
    commands.add_parser(
        "race",
        parents=[text, draws, traced, model, said],
        help="EESD beside vanilla on one device: verdict and speedup",
    )
    record = commands.add_parser("record", parents=[text, draws, model, said], help="write a race that the page can open on")
    record.add_argument("--out", type=path, required=True, metavar="FILE")
    replay = commands.add_parser("replay", parents=[said], help="show a trace in the terminal, at the speed it was made")
    replay.add_argument("trace", type=path, metavar="TRACE")
    replay.add_argument("--speed", type=number, default=1.0, metavar="X", help="recorded seconds a second; 0 is at once (default: 1)")
    export = commands.add_parser("export", help="a trace as one offline HTML file, a Perfetto trace, or a CSV of its rounds")
    export.add_argument("trace", type=path, nargs="+", metavar="TRACE", help="several make one page to choose from, with html")
    export.add_argument("--format", choices=["html", "perfetto", "csv"], required=True)
    export.add_argument("--out", type=path, required=True, metavar="FILE")
    commands.add_parser("doctor", parents=[model, said], help="what this machine does: dtype, threads, row invariance, costs")


def generate(arguments) -> int:
    from ..backends import backend
    from ..metrics import Metrics

    request = request_of(arguments, arguments.method)
    if arguments.trace:
        check_writable(Path(arguments.trace), "the trace")
    engine = load_engine(arguments, request.needs_exit_layer)
    records, show, used = [], lambda text: sys.stdout.write(printable(text)), backend(engine, request)
    with traced(arguments, records):
        show(request.prompt)
        for record in engine.run(request, backend=used):
            records.append(record)
            if record.event.type == "tokens_committed":
                show(record.event.text)
                sys.stdout.flush()
        metrics = Metrics.fold(records, request.method).to_json()
        show(f"\n\n{metrics['new_tokens']} tokens in {metrics['seconds']:.2f} s: {metrics['tokens_per_second']:.1f} tokens/s")
        show(f", {metrics['mean_accepted_length']:.2f} tokens per round\n" if request.method == "eesd" else "\n")
    if arguments.json:
        head = {"method": request.method, "controller": controller_of(request), "dtype": dtype_of(engine), "backend": used}
        print(json.dumps(head | metrics))
    return 0


def race(arguments) -> int:
    from ..metrics import Metrics
    from ..racing import race as run_race
    from .terminal import Painter

    request = request_of(arguments)
    if arguments.trace:
        check_writable(Path(arguments.trace), "the trace")
    engine = load_engine(arguments, request.needs_exit_layer)
    painter, records = Painter(sys.stdout), []
    with traced(arguments, records):
        for record in run_race(engine, request):
            records.append(record)
            painter.show(record)
        lanes = {lane: Metrics.fold(records, lane).to_json() for lane in ("vanilla", "eesd")}
        verdict = records[-1].event
        painter.summary(lanes, verdict)
    if arguments.json:
        head = {"identical": verdict.identical, "level": verdict.level, "first_difference": verdict.first_difference}
        head |= {"cache_difference": verdict.cache_difference}
        head |= {"speedup": verdict.speedup, "controller": controller_of(request), "dtype": dtype_of(engine)}
        head |= {"backend": painter.lanes["eesd"].backend}
        print(json.dumps(head | lanes))
    return 0


def record(arguments) -> int:
    from ..events import RaceFinished
    from ..metrics import Metrics
    from ..recording import record_race, write_recording

    request = request_of(arguments)
    with suppress(OSError):  # the check reports what is wrong
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
    check_writable(arguments.out, "the recording")
    engine = load_engine(arguments, request.needs_exit_layer)
    records = record_race(engine, request)
    speedup = next(record.event.speedup for record in records if isinstance(record.event, RaceFinished))
    write_recording(arguments.out, engine.target.device, records)
    facts = {"records": len(records), "bytes": arguments.out.stat().st_size, "speedup": speedup}
    facts["text"] = Metrics.fold(records, "eesd").text
    for name, value in facts.items():
        print(f"{name:>8}  {printable(str(value))}")
    if arguments.json:
        print(json.dumps(facts))
    return 0


def replay(arguments) -> int:
    from ..export.playback import play
    from ..trace import open_trace

    if not 0 <= arguments.speed <= 1000:
        raise UserError(f"--speed must be a number from 0 to 1000, not {arguments.speed:g}")
    facts = play(open_trace(arguments.trace), sys.stdout, arguments.speed)
    if arguments.json:
        print(json.dumps(facts))
    return 0


def export(arguments) -> int:
    from ..export import export as make
    from ..export import write_export
    from ..trace import open_trace

    if arguments.out.resolve() in [trace.resolve() for trace in arguments.trace]:
        raise UserError("--out is the trace itself, which would be lost: give another name")
    check_writable(arguments.out, "the export")
    first, *more = map(open_trace, arguments.trace)
    write_export(arguments.out, make(first, arguments.format, *more))
    print(f"{printable(str(arguments.out))}: {arguments.out.stat().st_size:,} bytes")
    return 0


def doctor(arguments) -> int:
    from ..backends import BLIND, why_host
    from ..environment import versions
    from ..memory import memory_mb
    from ..row_invariance import EXPLANATION

    began = time.perf_counter()
    engine = load_engine(arguments)
    facts = {"model": engine.target.name, "device": str(engine.target.device), "dtype": dtype_of(engine), "level": engine.level}
    why = why_host(engine)
    blind = f"device for vanilla and for chains of the exit layer with the controllers {', '.join(BLIND)}; host for all else"
    facts |= {"backend": f"host: {why}" if why else blind}
    facts |= {"layers": engine.target.depth, "exit_after": engine.exit_layer.exit_after if engine.exit_layer else None}
    facts |= {"load_seconds": time.perf_counter() - began}
    source, memory = engine.target.source, memory_mb()
    facts |= {"file": source.file, "file_mb": source.megabytes, "memory_mb": memory}
    facts |= {"costs": engine.measured.to_json(), "versions": versions()}
    for name, value in facts.items():
        print(f"{name:>13}  {value:.3f}" if isinstance(value, float) else f"{name:>13}  {value}")
    print(f"\n{textwrap.fill(EXPLANATION, 100)}")
    if arguments.json:
        print(json.dumps(facts))
    return 0


COMMANDS = {"generate": generate, "race": race, "record": record, "replay": replay, "export": export, "doctor": doctor}

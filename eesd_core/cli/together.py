"""`together`: the prompts of a file, several at a time in the same passes."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..control.base import check_whole
from ..errors import UserError
from ..limits import MAX_ROWS
from .flags import Shared, check_writable, controller_of, dtype_of, given, load_engine, path, request_of, traced, whole
from .terminal import printable

SHOWN = 60  # characters of a text


def add_commands(commands, shared: Shared) -> None:
    about = "the prompts of a file, several at a time in the same passes, without padding (EMS-SD)"
    together = commands.add_parser("together", parents=[shared.writing, shared.draws, shared.model, shared.said], help=about)
    files = "JSON Lines with a `prompt` field, or Spec-Bench's (default: the benchmark's own)"
    together.add_argument("--prompts", type=path, metavar="FILE", help=files)
    together.add_argument("--limit", type=whole, metavar="N", help="use the first N prompts")
    together.add_argument("--batch", type=whole, default=4, metavar="B", help="texts at a time, 1 to 16 (default: 4)")
    together.add_argument("--method", choices=["eesd", "vanilla"], default="eesd")
    form = "padded: to compare with, all texts have as many rows as the one with most (default: ems, without padding)"
    together.add_argument("--form", choices=["ems", "padded"], default="ems", help=form)
    events = "write every event as NDJSON, each with the number of its text (`row`)"
    together.add_argument("--trace", type=given, metavar="FILE", help=events)


def together(arguments) -> int:
    from ..bench.prompts import load_prompts
    from ..clock import Clock

    a = arguments
    check_whole("--batch", a.batch, 1, MAX_ROWS)
    prompts = load_prompts(a.prompts, a.limit)
    requests = [_request(a, prompt) for prompt in prompts]
    if a.trace:
        check_writable(Path(a.trace), "the trace")
    engine = load_engine(a, requests[0].needs_exit_layer)
    if not engine.target.codec.has_chat:
        requests = [replace(request, chat=False, system="") for request in requests]
    for prompt, request in zip(prompts, requests):
        try:
            engine.encode(request)
        except UserError as problem:
            raise UserError(f"prompt {prompt.id}: {problem}") from None
    clock, records = Clock(), []
    stream = engine.run_together(requests, a.batch, clock=clock, padded=a.form == "padded")
    with traced(a, records):
        texts = dict(_finished(stream, [prompt.id for prompt in prompts], records))
    total = sum(text["new_tokens"] for text in texts.values())
    pace = total / clock.seconds
    print(f"{total} tokens of {len(texts)} texts in {clock.seconds:.2f} s: {pace:.1f} tokens/s together, {a.batch} texts at a time")
    if a.json:
        facts = {"method": a.method, "controller": controller_of(requests[0]), "dtype": dtype_of(engine), "level": engine.level}
        facts |= {"batch": a.batch, "form": a.form, "new_tokens": total, "seconds": clock.seconds, "tokens_per_second": pace}
        print(json.dumps({"texts": [{"id": prompt.id} | texts[row] for row, prompt in enumerate(prompts)]} | facts))
    return 0


def _request(arguments, prompt):
    arguments.prompt, arguments.chat = prompt.text, prompt.chat
    return request_of(arguments, arguments.method)


def _finished(stream, ids: list[str], records: list) -> Iterator[tuple[int, dict]]:
    """Yields every text's row and figures, and prints a line about it, when it ends. Appends all records to `records`."""
    from ..metrics import Metrics
    from ..rounds import Lane

    lanes = {}
    for record in stream:
        records.append(record)
        lane = lanes.setdefault(record.row, Lane(record.lane, record.row))
        lane.add(record)
        if lane.finished:
            text = Metrics.of(lane).to_json()
            line = f"{ids[lane.row]}: {text['new_tokens']} tokens, {text['finish']}, {text['seconds']:.2f} s  {text['text'][:SHOWN]!r}"
            sys.stdout.write(printable(line) + "\n")
            sys.stdout.flush()
            yield lanes.pop(record.row).row, text


COMMANDS = {"together": together}

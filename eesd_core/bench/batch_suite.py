"""`bench --suite batch`: several texts in the same passes, in three forms. One command, one table.

*ems* drafts without padding (together.py), *padded* drafts with padding as others do (padded.py), *vanilla* writes as many texts per pass
without drafts. Texts come from queues of TEXTS prompts, so that the next text takes the place of one that ends. For each number of texts
and each queue the forms take turns in one process, in reverse order on every second repeat (A B B A). A form's pace is the tokens of all
texts over their decoding time, without prefill; its time for a queue is the median over repeats. Every text is compared with the one that
vanilla writes alone.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from statistics import median

from ..clock import Clock
from ..engine import Engine
from ..errors import UserError
from ..forms import FORMS
from ..request import Request
from ..rounds import Lane, fold, fold_all
from ..sampling import Sampling
from .machine import load, machine
from .methods import parse_method
from .prompts import Prompt

BATCHES, TEXTS = (1, 2, 4, 8), 8
WARM_UP = 8  # tokens


def batch_suite(
    engine: Engine, prompts: list[Prompt], methods: Sequence[str] | None, sampling: Sampling, tokens: int, repeats: int
) -> dict:  # fmt: skip
    """Run, print a table, return the report as plain values. `methods`: one that drafts (default: throughput). Raises UserError."""
    name, *others = methods or ["throughput"]
    method = parse_method(name)
    if others or not method.controller or method.exit:
        raise UserError("the suite batch measures one method of this engine beside vanilla: name a controller, as in --methods beta")
    if sampling.rejects:
        raise UserError("the suite batch compares texts token by token: leave out --acceptance rejection")
    chat = engine.target.codec.has_chat

    def queues(form: str) -> list[list[Request]]:
        kind = parse_method("vanilla") if form == "vanilla" else method
        asked = [kind.request(prompt.text, tokens, sampling, prompt.chat and chat) for prompt in prompts]
        return [asked[first : first + TEXTS] for first in range(0, len(asked), TEXTS)]

    requests = {form: queues(form) for form in FORMS}
    alone = [[fold(engine.run(request), "vanilla").token_ids for request in queue] for queue in requests["vanilla"]]
    runs: dict[tuple[str, int], list[list[dict]]] = {place: [[] for _ in alone] for place in product(FORMS, BATCHES)}
    busy = load()
    for form in FORMS:
        _write(engine, [_short(request) for request in requests[form][0]], form, max(BATCHES))
    for form, size, number in _order(len(alone), repeats):
        runs[form, size][number].append(_write(engine, requests[form][number], form, size) | {"alone": alone[number]})
        print(f"\r\033[K{form}, {size} at a time, queue {number + 1} of {len(alone)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    rows = [_row(form, size, runs[form, size]) for size, form in product(BATCHES, FORMS)]
    facts = {"model": engine.target.name, "dtype": engine.target.precision, "level": engine.level, "method": name, "new_tokens": tokens}
    facts |= {"prompts": len(prompts), "repeats": repeats, "machine": machine(engine.target.device) | {"load_at_start": busy}}
    report = facts | {"rows": rows}
    _print_table(report)
    return report


def _order(queues: int, repeats: int) -> Iterator[tuple[str, int, int]]:
    for repeat, size, number in product(range(repeats), BATCHES, range(queues)):
        for form in FORMS if repeat % 2 == 0 else FORMS[::-1]:
            yield form, size, number


def _short(request: Request) -> Request:
    return replace(request, max_new_tokens=min(WARM_UP, request.max_new_tokens))


def _write(engine: Engine, requests: list[Request], form: str, size: int) -> dict:
    clock = Clock()
    lanes = fold_all(engine.run_together(requests, size, clock=clock, padded=form == "padded"))
    return {"ids": [lane.token_ids for lane in lanes], "seconds": clock.seconds, "rounds": [_rounds(lane) for lane in lanes]}


def _rounds(lane: Lane) -> list[tuple[int, int]]:
    return [(round.drafted, round.accepted) for round in lane.judged]


def _row(form: str, size: int, queues: list[list[dict]]) -> dict:
    """`queues`: the runs of every queue, one per repeat."""
    seconds = sum(median(run["seconds"] for run in repeats) for repeats in queues)
    first = [repeats[0] for repeats in queues]
    tokens = sum(len(ids) for run in first for ids in run["ids"])
    rounds = [round for run in first for lane in run["rounds"] for round in lane]
    texts = [pair for repeats in queues for run in repeats for pair in zip(run["ids"], run["alone"])]
    return {
        "form": form, "batch": size, "tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds,
        "mean_accepted_length": 1 + sum(accepted for _, accepted in rounds) / len(rounds),
        "mean_draft_length": sum(drafted for drafted, _ in rounds) / len(rounds),
        "identical": sum(ids == alone for ids, alone in texts), "texts": len(texts),
    }  # fmt: skip


def _print_table(report: dict) -> None:
    names = ("model", "dtype", "level", "method", "prompts", "new_tokens", "repeats")
    print(", ".join(f"{name} {report[name]}" for name in names))
    print("texts     form  tokens/s  over vanilla  over padded  drafts  accepted length  identical")
    pace = {(row["batch"], row["form"]): row["tokens_per_second"] for row in report["rows"]}
    for row in report["rows"]:
        over = [row["tokens_per_second"] / pace[row["batch"], form] for form in ("vanilla", "padded")]
        print(
            f"{row['batch']:5}  {row['form']:>7}  {row['tokens_per_second']:8.1f}  {over[0]:11.2f}x  {over[1]:10.2f}x"
            f"  {row['mean_draft_length']:6.2f}  {row['mean_accepted_length']:15.2f}  {row['identical']} of {row['texts']}"
        )

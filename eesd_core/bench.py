"""Methods side by side: same prompts, one process, interleaved, every output compared with vanilla's.

For every prompt all methods run one after the other, in reverse order on every second repeat (A B B A), after a warm-up. Speedup is
vanilla's seconds a token over the method's for the same prompt, as the median over prompts of the median over repeats, with the quartiles.
Clocks are the lanes' own: decoding without prefill, loading or printing. A controller keeps what it has learned from prompt to prompt, as
a server's would; every repeat starts afresh.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median, quantiles

from .control import CONTROLLERS, Controller, make_controller, parse_controller
from .engine import Engine, Request, versions
from .errors import UserError
from .exactness import promise
from .model.load import EMBEDDED
from .race import Outcome, first_difference
from .sampling import Sampling
from .trace import Metrics

OWN_PROMPTS = EMBEDDED.parent / "prompts.json"


def read_prompts(path: Path | None, limit: int | None) -> list[str]:
    """Prompts of a JSON Lines file, or the page's own examples. Raises UserError."""
    try:
        text = (path or OWN_PROMPTS).read_text(encoding="utf-8")
        entries = [json.loads(line) for line in text.splitlines() if line.strip()] if path else json.loads(text)
        prompts = [str(entry["prompt"]) for entry in entries][:limit]
    except OSError as problem:
        raise UserError(f"the prompts cannot be read from {path}: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no JSON Lines file with a `prompt` field on every line") from None
    if not prompts:
        raise UserError("there are no prompts to run: check --prompts and --limit")
    return prompts


def request_of(method: str, prompt: str, new_tokens: int, sampling: Sampling) -> Request:
    """`vanilla`, `throughput`, `fixed:4`, `beta:draw=round` ... Raises UserError."""
    if method == "vanilla":
        return Request(prompt, new_tokens, sampling, "vanilla")
    if method.partition(":")[0] not in CONTROLLERS:
        raise UserError(f"unknown method {method!r}: use vanilla, {', '.join(CONTROLLERS)}, with settings as in fixed:4")
    return Request(prompt, new_tokens, sampling, "eesd", *parse_controller(method, sampling.seed))


def bench(
    engine: Engine, path: Path | None, limit: int | None, methods: list[str], repeats: int, new_tokens: int, sampling: Sampling
) -> dict:
    """Run, print a table, return the report as plain values."""
    prompts = read_prompts(path, limit)
    methods = ["vanilla", *(m for m in dict.fromkeys(methods) if m != "vanilla")]
    if repeats < 1 or (limit is not None and limit < 1):
        raise UserError("--repeats and --limit must be at least 1")
    for prompt in prompts:
        engine.encode(request_of("vanilla", prompt, new_tokens, sampling))  # one that does not fit is said before the work, not in it
    for method in methods:
        _run(engine, request_of(method, prompts[0], min(16, new_tokens), sampling))  # warm-up
    requests = {method: request_of(method, prompts[0], new_tokens, sampling) for method in methods}
    controllers = [{m: make_controller(r.controller, **r.settings) for m, r in requests.items()} for _ in range(repeats)]
    runs: dict[str, list[list[tuple[Metrics, Outcome]]]] = {m: [] for m in methods}  # method -> prompt -> repeat
    for number, prompt in enumerate(prompts, 1):
        print(f"\rprompt {number} of {len(prompts)}", end="", file=sys.stderr, flush=True)
        for method in methods:
            runs[method].append([])
        for repeat in range(repeats):
            for method in methods if repeat % 2 == 0 else methods[::-1]:
                request = replace(requests[method], prompt=prompt)
                runs[method][-1].append(_run(engine, request, controllers[repeat][method]))
    print(file=sys.stderr)
    rows = {method: _summary(runs[method], runs["vanilla"], not sampling.rejects) for method in methods}
    target = engine.target
    facts = {"model": target.name, "device": str(target.device), "dtype": str(target.dtype).removeprefix("torch.")}
    facts |= {"level": promise(engine.level, sampling), "prompts": len(prompts), "repeats": repeats, "new_tokens": new_tokens}
    facts |= asdict(sampling)
    _print_table(facts, rows)
    return facts | {"versions": versions(), "methods": rows}


def _run(engine: Engine, request: Request, controller: Controller | None = None) -> tuple[Metrics, Outcome]:
    metrics, outcome = Metrics(), Outcome()
    for record in engine.run(request, controller=controller):
        metrics.observe(record)
        outcome.observe(record)
    return metrics, outcome


def _summary(runs: list[list[tuple[Metrics, Outcome]]], vanilla: list[list[tuple[Metrics, Outcome]]], comparable: bool) -> dict:
    """`comparable`: the method should write vanilla's text. By rejection sampling it writes another one of the same distribution."""

    def seconds(repeats) -> float:
        return median(metrics.seconds for metrics, _ in repeats)

    def pace(repeats) -> float:  # seconds a token
        return median(metrics.seconds / len(metrics.token_ids) for metrics, _ in repeats)

    speedups = [pace(theirs) / pace(ours) for ours, theirs in zip(runs, vanilla)]
    first = [repeats[0][0] for repeats in runs]  # draft lengths may differ a little between repeats where a controller looks at costs
    drafted, accepted, rounds = (sum(getattr(m, name) for m in first) for name in ("drafted", "accepted", "rounds"))
    total = sum(m.seconds for repeats in runs for m, _ in repeats)
    worked = sum(m.draft_seconds + m.verify_seconds for repeats in runs for m, _ in repeats)
    forks = []
    for number, (ours, theirs) in enumerate(zip(runs, vanilla) if comparable else ()):
        plain = theirs[0][1]
        differences = [first_difference(plain.ids, outcome.ids) for _, outcome in ours]
        position = min((d for d in differences if d is not None), default=None)
        if position is not None:
            margins = plain.margins
            forks.append({"prompt": number, "position": position, "margin": margins[position] if position < len(margins) else None})
    spread = quantiles(speedups, n=4) if len(speedups) > 1 else [speedups[0]] * 3
    return {
        "tokens_per_second": sum(len(m.token_ids) for m in first) / sum(seconds(repeats) for repeats in runs),
        "speedup": median(speedups),
        "speedup_quartiles": [spread[0], spread[2]],
        "acceptance_rate": accepted / drafted if drafted else None,
        "mean_accepted_length": 1 + accepted / rounds,
        "overhead_share": 1 - worked / total,
        "identical": len(runs) - len(forks) if comparable else None,
        "forks": forks,
    }


def _print_table(facts: dict, rows: dict[str, dict]) -> None:
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"{'method':>10}  tokens/s  speedup  (quartiles)  acceptance  tokens/round  overhead  identical")
    for method, row in rows.items():
        low, high = row["speedup_quartiles"]
        same = "-" if row["identical"] is None else f"{row['identical']:4d} of {facts['prompts']}"
        rate = "-" if row["acceptance_rate"] is None else f"{row['acceptance_rate']:.3f}"
        print(
            f"{method:>10}  {row['tokens_per_second']:8.1f}  {row['speedup']:6.2f}x  ({low:.2f}-{high:.2f})  {rate:>10}"
            f"  {row['mean_accepted_length']:12.2f}  {row['overhead_share']:7.1%}  {same}"
        )

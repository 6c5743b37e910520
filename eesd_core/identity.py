"""Does EESD write what vanilla writes? Many prompts, temperatures and controllers; every output is compared token by token.

The result of a prompt at a temperature goes to a file as soon as it is known, so a long comparison can be stopped and taken up again.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from .bench import read_prompts, request_of
from .engine import Engine, Request, versions
from .errors import UserError
from .model.exit_layer import fingerprint
from .race import Outcome, first_difference
from .sampling import Sampling

SMALL_MARGIN = 1e-4  # of the target's two best logits: a fork at such a place is explained by the last bits of a sum


def compare(engine: Engine, request: Request, methods: list[str]) -> dict:
    """Vanilla once, every method once: {tokens, forks}. forks: method -> position and margin of the first difference, if there is one."""
    plain, forks = _write(engine, replace(request, method="vanilla")), {}
    for method in methods:
        other = _write(engine, request_of(method, request.prompt, request.max_new_tokens, request.sampling))
        position = first_difference(plain.ids, other.ids)
        if position is not None:
            margin = plain.margins[position] if position < len(plain.margins) else None
            forks[method] = {"position": position, "margin": margin}
    return {"tokens": len(plain.ids), "forks": forks}


def _write(engine: Engine, request: Request) -> Outcome:
    outcome = Outcome()
    for record in engine.run(request):
        outcome.observe(record)
    return outcome


def prompts_that_fit(engine: Engine, paths: list[Path], limit: int | None, new_tokens: int) -> list[str]:
    """The first `limit` prompts of every file, without those that exceed the context."""
    every, fit = [prompt for path in paths for prompt in read_prompts(path, limit)], []
    for prompt in every:
        try:
            engine.encode(Request(prompt, new_tokens))
            fit.append(prompt)
        except UserError:
            continue
    if not fit:
        raise UserError(f"no prompt leaves room for {new_tokens} new tokens: ask for fewer with --max-new-tokens")
    if left_out := len(every) - len(fit):
        print(f"{left_out} of {len(every)} prompts are too long with {new_tokens} new tokens and are left out")
    return fit


def identity(engine: Engine, prompts: list[str], temperatures: list[float], methods: list[str], new_tokens: int, out: Path) -> dict:
    """Compare, print a table, return it as plain values. The seed of prompt i is i. Raises UserError if `out` holds another comparison."""
    target = engine.target
    facts = {"model": target.name, "fingerprint": fingerprint(target), "dtype": target.precision, "level": engine.level}
    facts |= {"prompts": len(prompts), "temperatures": temperatures, "methods": methods, "new_tokens": new_tokens, "versions": versions()}
    for method in methods:
        request_of(method, prompts[0], new_tokens, Sampling())  # a wrong name is said before the work
    cells = [(number, temperature) for number in range(len(prompts)) for temperature in temperatures]
    done = {(cell["prompt"], cell["temperature"]): cell for cell in _kept(out, facts)}
    began, fresh = time.monotonic(), 0
    with out.open("a") as lines:
        if not done and not out.stat().st_size:
            lines.write(json.dumps(facts) + "\n")
        for number, temperature in cells:
            if (number, temperature) in done:
                continue
            request = Request(prompts[number], new_tokens, Sampling(temperature, seed=number))
            done[number, temperature] = {"prompt": number, "temperature": temperature} | compare(engine, request, methods)
            lines.write(json.dumps(done[number, temperature]) + "\n")
            lines.flush()
            fresh += 1
            left = (time.monotonic() - began) / fresh * (len(cells) - len(done)) / 60
            print(f"\r{len(done)} of {len(cells)}, {left:.0f} min left ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    report = facts | _summary(list(done.values()), temperatures, methods)
    _print_table(report)
    return report


def _kept(out: Path, facts: dict) -> Iterator[dict]:
    try:
        first, *rest = out.read_text().splitlines() if out.exists() and out.stat().st_size else [json.dumps(facts)]
        if json.loads(first) != facts:
            raise UserError(f"{out} holds a comparison with another model, prompts or settings: give --out another file")
        yield from map(json.loads, rest)
    except (OSError, ValueError) as problem:
        raise UserError(f"{out} cannot be taken up ({str(problem)[:100]}): give --out another file") from None


def _summary(cells: list[dict], temperatures: list[float], methods: list[str]) -> dict:
    rows = []
    for temperature in temperatures:
        mine = [cell for cell in cells if cell["temperature"] == temperature]
        for method in methods:
            forks = [{"prompt": cell["prompt"]} | cell["forks"][method] for cell in mine if method in cell["forks"]]
            tokens = sum(cell["tokens"] for cell in mine)
            rows.append({"temperature": temperature, "method": method, "runs": len(mine), "tokens": tokens, "forks": forks})
    unexplained = [f for row in rows for f in row["forks"] if f["margin"] is None or f["margin"] >= SMALL_MARGIN]
    return {"rows": rows, "unexplained": len(unexplained)}


def _print_table(report: dict) -> None:
    print(", ".join(f"{name} {report[name]}" for name in ("model", "dtype", "level", "prompts", "new_tokens")))
    print("   T      method   identical       tokens  margins of the forks")
    for row in report["rows"]:
        same = f"{row['runs'] - len(row['forks'])} of {row['runs']}"
        margins = " ".join("end" if fork["margin"] is None else f"{fork['margin']:.1e}" for fork in row["forks"])
        print(f"{row['temperature']:4.1f}  {row['method']:>10}  {same:>10}  {row['tokens']:11,}  {margins}")
    print(f"forks with a margin of {SMALL_MARGIN:g} or more: {report['unexplained']}")

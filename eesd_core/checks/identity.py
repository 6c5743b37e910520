"""Does EESD write what vanilla writes? Many prompts, temperatures and controllers; every output is compared token by token.

The result of a prompt at a temperature is written to a file as soon as it is known, so a long comparison can be interrupted and resumed.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

from ..bench import own_request, read_prompts
from ..bench.cells import Cells, digest
from ..engine import Engine
from ..environment import versions
from ..errors import UserError
from ..racing import first_difference
from ..request import Request
from ..rounds import Lane, fold
from ..sampling import Sampling

SMALL_MARGINS = {"float32": 1e-4}  # margin below which the last bits of a sum explain a fork
SMALL_MARGIN = 0.25  # for bf16 and quantised weights: four times the step between logits of 8 to 16


def compare(engine: Engine, request: Request, methods: list[str]) -> tuple[int, dict[str, dict]]:
    """Run vanilla once and every method once. Returns the number of tokens, and position and margin of the first difference of each method
    that differs."""
    plain, forks = _write(engine, replace(request, method="vanilla")), {}
    ids, margins = plain.token_ids, plain.margins
    for method in methods:
        other = _write(engine, own_request(method, request.prompt, request.max_new_tokens, request.sampling))
        position = first_difference(ids, other.token_ids)
        if position is not None:
            margin = margins[position] if position < len(margins) else None
            forks[method] = {"position": position, "margin": margin}
    return len(ids), forks


def _write(engine: Engine, request: Request) -> Lane:
    return fold(engine.run(request), request.method)


def prompts_that_fit(engine: Engine, paths: list[Path], limit: int | None, new_tokens: int) -> list[str]:
    """The first `limit` prompts of every file that fit into the context. Raises UserError if none does."""
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
    if target.shards > 1:
        raise UserError("a comparison runs in one process: start it without torchrun")
    facts = {"model": target.name, "fingerprint": target.fingerprint, "dtype": target.precision, "level": engine.level}
    if layer := engine.exit_layer:
        facts |= {"exit_after": layer.exit_after, "exit_layer": layer.fingerprint}
    facts |= {"heads": {kind: head.fingerprint for kind, head in engine.heads.items()}}
    facts |= {"prompts": len(prompts), "temperatures": temperatures, "methods": methods, "new_tokens": new_tokens, "versions": versions()}
    for method in methods:
        own_request(method, prompts[0], new_tokens, Sampling())  # a wrong name is reported before the work
    cells = Cells(out, facts | {"digest": digest({"prompts": prompts})})
    places = [(number, temperature) for number in range(len(prompts)) for temperature in temperatures]
    missing = [(n, t) for n, t in places if not all(cells.get(f"T {t:g}", method, n, 0) for method in methods)]
    began = time.monotonic()
    try:
        for done, (number, temperature) in enumerate(missing, 1):
            tokens, forks = compare(engine, Request(prompts[number], new_tokens, Sampling(temperature, seed=number)), methods)
            for method in methods:
                cell = {"group": f"T {temperature:g}", "method": method, "prompt": number, "repeat": 0}
                cells.add(cell | {"tokens": tokens, "fork": forks.get(method)})
            left = (time.monotonic() - began) / done * (len(missing) - done) / 60
            place = len(places) - len(missing) + done
            print(f"\r{place} of {len(places)}, {left:.0f} min left ", end="", file=sys.stderr, flush=True)
    finally:
        cells.close()
    print(file=sys.stderr)
    rows = [_row(temperature, method, cells) for temperature in temperatures for method in methods]
    # Where passes are row-invariant by construction, rounding explains nothing: every fork is an error.
    small = 0.0 if engine.level == "exact-by-construction" else SMALL_MARGINS.get(target.precision, SMALL_MARGIN)
    unexplained = [f for row in rows for f in row["forks"] if f["margin"] is None or f["margin"] >= small]
    report = facts | {"rows": rows, "small_margin": small, "unexplained": len(unexplained)}
    _print_table(report)
    return report


def _row(temperature: float, method: str, cells: Cells) -> dict:
    mine = [cell for cell in cells if cell["group"] == f"T {temperature:g}" and cell["method"] == method]
    forks = [{"prompt": cell["prompt"]} | cell["fork"] for cell in mine if cell["fork"]]
    return {"temperature": temperature, "method": method, "runs": len(mine), "tokens": sum(c["tokens"] for c in mine), "forks": forks}


def _print_table(report: dict) -> None:
    print(", ".join(f"{name} {report[name]}" for name in ("model", "dtype", "level", "prompts", "new_tokens")))
    print("   T      method   identical       tokens  margins of the forks")
    for row in report["rows"]:
        same = f"{row['runs'] - len(row['forks'])} of {row['runs']}"
        margins = " ".join("end" if fork["margin"] is None else f"{fork['margin']:.1e}" for fork in row["forks"])
        print(f"{row['temperature']:4.1f}  {row['method']:>10}  {same:>10}  {row['tokens']:11,}  {margins}")
    print(f"forks with a margin of {report['small_margin']:g} or more: {report['unexplained']}")

"""Checks that a text written in shared passes equals its single run: `python -m tools.together_identity [--model M] [--quantize q8]`.

Uses the benchmark's first prompts, in batches of 1, 2, 4 and 8 taken from a queue, greedy and at T = 0.8 with shared noise, for every
controller. For a text that differs, prints the first differing token and the target's margin there; exit status 1 if any differs. Takes
minutes; the tests do the same with few texts.
"""

import argparse
import sys
import time
from itertools import product

from eesd_core.bench.methods import parse_method
from eesd_core.bench.prompts import load_prompts
from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.loading import load_engine
from eesd_core.racing import first_difference
from eesd_core.request import Request
from eesd_core.rounds import Lane, fold, fold_all
from eesd_core.sampling import Sampling

BATCHES = (1, 2, 4, 8)
CONTROLLERS = ("beta", "throughput", "fixed:4")
SAMPLINGS = {"greedy": Sampling(), "T 0.8": Sampling(0.8, seed=7)}


def compared(engine: Engine, requests: list[Request], alone: list[Lane], batch: int) -> list[str]:
    """One line for every text that differs."""
    lanes = fold_all(engine.run_together(requests, batch))
    found = []
    for lane, single in zip(lanes, alone, strict=True):
        if difference := difference_of(single, lane):
            found.append(f"text {lane.row + 1} {difference}")
    return found


def difference_of(expected: Lane, found: Lane) -> str | None:
    """The first token that differs, and the target's margin there."""
    place = first_difference(expected.token_ids, found.token_ids)
    if place is None:
        return None
    margin = f"{expected.margins[place]:.2g}" if place < len(expected.margins) else "none"
    return f"differs at token {place + 1}, margin {margin}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="MODEL")
    parser.add_argument("--quantize", default="none")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--controllers", default=",".join(CONTROLLERS))
    flags = parser.parse_args()
    try:
        engine = load_engine(flags.model, None, "auto", "auto", flags.quantize)
        prompts = load_prompts(None, flags.prompts)
        chat, methods = engine.target.codec.has_chat, [parse_method(name) for name in flags.controllers.split(",")]
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    print(f"{engine.target.name} {engine.target.precision}, {engine.level}; {len(prompts)} prompts, {flags.tokens} tokens")
    texts = different = 0
    for (rule, sampling), method in product(SAMPLINGS.items(), methods):
        requests = [method.request(prompt.text, flags.tokens, sampling, prompt.chat and chat) for prompt in prompts]
        began = time.monotonic()
        alone = [fold(engine.run(request), "eesd") for request in requests]
        for batch in BATCHES:
            problems = compared(engine, requests, alone, batch)
            texts, different = texts + len(requests), different + len(problems)
            for problem in problems:
                print(f"{rule}, {method.name}, {batch} at a time: {problem}")
        print(f"{rule}, {method.name}: done in {time.monotonic() - began:.0f} s, {different} of {texts} texts so far differ", flush=True)
    print(f"{texts - different} of {texts} texts identical to their single runs")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())

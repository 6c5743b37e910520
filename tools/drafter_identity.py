"""Checks that every drafter writes vanilla's text: `python -m tools.drafter_identity [--model M] [--quantize q8]`.

Uses the benchmark's first prompts, greedy and at T = 0.8 with shared noise, for every drafter that the model has what it takes for, with
three controllers. For a text that differs, prints the first differing token and the target's margin there; exit status 1 if any differs.
Takes minutes; the tests do the same with few texts.
"""

import argparse
import sys
import time
from itertools import product

from eesd_core.bench.methods import parse_method
from eesd_core.bench.prompts import load_prompts
from eesd_core.draft.registry import DRAFTERS
from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.loading import load_engine
from eesd_core.rounds import fold
from tools.together_identity import SAMPLINGS, difference_of

CONTROLLERS = ("beta", "throughput", "fixed:4")


def drafters_of(engine: Engine) -> list[str]:
    """Those that the model has what it takes for, without those for demonstration only."""
    rows = [row for row in DRAFTERS.values() if not row.for_show]
    return [row.name for row in rows if not row.needs_head or row.needs_head in engine.heads]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="MODEL")
    parser.add_argument("--quantize", default="none")
    parser.add_argument("--heads", metavar="DIR", help="folder of other trained heads")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--drafters", help="some of them, separated by commas (default: all)")
    flags = parser.parse_args()
    try:
        engine = load_engine(flags.model, None, "auto", "auto", flags.quantize, heads=flags.heads)
        prompts = load_prompts(None, flags.prompts)
        names = flags.drafters.split(",") if flags.drafters else drafters_of(engine)
        methods = [parse_method(f"{name}+{controller}") for name, controller in product(names, CONTROLLERS)]
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    chat, texts, different = engine.target.codec.has_chat, 0, 0
    print(f"{engine.target.name} {engine.target.precision}, {engine.level}; {len(prompts)} prompts, {flags.tokens} tokens", flush=True)
    for rule, sampling in SAMPLINGS.items():

        def lane(method, prompt, sampling=sampling):
            return fold(engine.run(method.request(prompt.text, flags.tokens, sampling, prompt.chat and chat), "lane"), "lane")

        plain = [lane(parse_method("vanilla"), prompt) for prompt in prompts]
        for method in methods:
            began = time.monotonic()
            for number, (prompt, expected) in enumerate(zip(prompts, plain), 1):
                found, texts = lane(method, prompt), texts + 1
                if difference := difference_of(expected, found):
                    print(f"{rule}, {method.name}: text {number} {difference}")
                    different += 1
            took = time.monotonic() - began
            print(f"{rule}, {method.name}: {took:.0f} s; {texts - different} of {texts} texts so far identical", flush=True)
    print(f"{texts - different} of {texts} texts identical to vanilla's")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())

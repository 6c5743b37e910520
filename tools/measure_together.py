"""What a server gains by sharing passes: `python -m tools.measure_together [--model M] [--quantize q8]`.

Prints how long visitors who come at once take with `--together` and one after the other, in turns (A B B A), and whether each text is the
same in both; then the memory of a server that shares passes, while visitors come and leave at random. The server is in this process,
without Gradio: what is measured is the line, the device and the passes.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from statistics import median

from app.form_values import Limits
from app.runs import Visits
from eesd_core.errors import UserError
from eesd_core.loading import load_engine
from eesd_core.memory import memory_mb

PROMPTS = ("Once upon a time", "The wind had been rising", "She opened the letter", "In the morning the king", "Far away in the hills")
ORDER = "ABBA"
AT_ONCE = 8  # visitors at a time while leaving is random
NO_LIMIT = {"seconds": 1e9, "waiting": 1000, "runs_a_minute": 1_000_000, "waiting_each": 1000, "seconds_a_minute": 1e9}


def form(number: int, tokens: int) -> tuple:
    """Values of the page's form: prompt, temperature, top-k, top-p, min-p, seed, tokens."""
    return (PROMPTS[number % len(PROMPTS)], 0.8, 0, 1.0, 0.1, str(number), tokens)


async def visit(visits: Visits, number: int, tokens: int, patience: float = 1e9) -> str:
    """A visitor's whole text; the visitor leaves after `patience` seconds."""
    stream, end = visits.run(f"visitor {number}", "here", *form(number, tokens)), time.monotonic() + patience
    text, more = "", await anext(stream)
    while more is not None and time.monotonic() < end:
        text, more = more, await anext(stream, None)
    await stream.aclose()
    return text


def written(text: str) -> list[int]:
    lines = [json.loads(line) for line in text.splitlines() if '"tokens_committed"' in line]
    return [id for line in lines if line["lane"] == "eesd" for id in line["ids"]]


async def crowd(visits: Visits, together: int, count: int, tokens: int) -> tuple[float, list[list[int]]]:
    """Seconds until all who came at once have their texts, and the texts."""
    visits.device.together = together
    began = time.perf_counter()
    texts = await asyncio.gather(*(visit(visits, number, tokens) for number in range(count)))
    return time.perf_counter() - began, [written(text) for text in texts]


async def leaving(visits: Visits, together: int, runs: int, tokens: int) -> list[float]:
    """MB after every visit. About half of the visitors leave early, waiting or being served."""
    visits.device.together = together
    chance, memory, numbers = random.Random(1), [], iter(range(runs))

    async def one_after_the_other() -> None:
        for number in numbers:
            await visit(visits, number, tokens, chance.choice((1e9, 2 * chance.random())))
            memory.append(memory_mb())

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return memory


def growth(memory: list[float]) -> float:
    """The last tenth relative to the tenth after the first fifth, since caches fill up in the beginning."""
    tenth = max(1, len(memory) // 10)
    return sum(memory[-tenth:]) / sum(memory[2 * tenth : 3 * tenth]) - 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="MODEL")
    parser.add_argument("--quantize", default="none")
    parser.add_argument("--together", type=int, default=4, metavar="N")
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--runs", type=int, default=200, help="visits while memory is watched; 0: none")
    parser.add_argument("--tokens", type=int, default=64)
    flags = parser.parse_args()
    try:
        limits = Limits(**NO_LIMIT, together=flags.together)
        visits = Visits.load(lambda quantize: load_engine(flags.model, None, "auto", "auto", quantize), limits, flags.quantize)
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    asyncio.run(crowd(visits, 1, 2, 8))  # warm-up
    seconds, texts = {"A": [], "B": []}, []
    for letter in ORDER:
        took, found = asyncio.run(crowd(visits, flags.together if letter == "A" else 1, flags.visitors, flags.tokens))
        seconds[letter].append(took)
        texts.append(found)
        print(f"{flags.visitors} visitors, {'together' if letter == 'A' else 'one after the other'}: {took:.2f} s", flush=True)
    shared, alone = (median(seconds[letter]) for letter in "AB")
    same = sum(all(found == first for found in others) for first, *others in zip(*texts))
    print(f"{shared:.2f} s together ({flags.together}), {alone:.2f} s one after the other: {shared / alone:.2f} times the time")
    print(f"{same} of {flags.visitors} texts identical in all")
    if flags.runs:
        memory = asyncio.run(leaving(visits, flags.together, flags.runs, flags.tokens))
        print(f"{flags.runs} visits with random leaving: {memory[-1]:.0f} MB, {growth(memory):+.1%} since the first fifth")
    return 0


if __name__ == "__main__":
    sys.exit(main())

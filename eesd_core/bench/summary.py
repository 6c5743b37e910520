"""From cells to figures. Every figure of the report is computed here; the page and the table only show them.

Pace: seconds per token while decoding (without prefill); for a prompt, the median over repeats. A text's time is its pace times the number
of tokens of vanilla's text, so that a text that ends early counts little, and a peer gains nothing by writing a text of another length.
Speedup: vanilla's time for all texts over the method's, with its 95 % bootstrap interval (percentiles of 2,000 resamplings of the prompts).
The median over prompts is given too: it shows a typical prompt, and is noisier.
Counts have the definitions of vLLM and llama.cpp (metrics.py): acceptance rate = accepted / drafted, mean accepted length = 1 + accepted /
rounds (with its 95 % bootstrap interval over prompts), acceptance per position = of the rounds that tested position i, the share that
accepted it. They are those of the first repeat.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

import numpy as np

from ..metrics import Acceptance, histogram
from ..racing import first_difference
from .methods import PLAIN, parse_method
from .suites import Group

RESAMPLES = 2000
FORKS_SHOWN = 20

Runs = dict[str, list[list[dict]]]  # method -> prompt -> repeat -> cell


def summarise(group: Group, cells: Sequence[dict]) -> dict:
    """Figures of a group. Methods that lack a cell (they could not run) are left out."""
    found: dict[str, dict[tuple[int, int], dict]] = defaultdict(dict)
    for cell in cells:
        if cell["group"] == group.name:
            found[cell["method"]][cell["prompt"], cell["repeat"]] = cell
    places = range(len(group.prompts))
    whole = [name for name in group.methods if len(found[name]) == len(places) * group.repeats]
    runs: Runs = {name: [[found[name][prompt, repeat] for repeat in range(group.repeats)] for prompt in places] for name in whole}
    tokens = np.array([len(repeats[0]["ids"]) for repeats in runs["vanilla"]])
    times = {name: tokens * [pace(repeats) for repeats in prompts] for name, prompts in runs.items()}  # seconds per text
    categories = [prompt.category for prompt in group.prompts]
    plain = min((name for name in PLAIN if name in times), key=lambda name: times[name].sum())
    rows = {name: _row(group, name, runs, times, plain, categories) for name in whole}
    _regrets(rows, times)
    prompts = [{"id": prompt.id, "category": prompt.category, "chat": prompt.chat} for prompt in group.prompts]
    facts = {"name": group.name, "title": group.title, "x": group.x, "fastest_plain": plain, "categories": list(dict.fromkeys(categories))}
    return facts | {"prompts": prompts, "methods": rows}


def pace(repeats: Sequence[dict]) -> float:
    """Seconds per token."""
    return median(cell["seconds"] / cell["counted"] for cell in repeats)


def ratio(theirs: np.ndarray, mine: np.ndarray, percent: float = 95) -> dict:
    """How much faster `mine` is than `theirs`, given times for the same texts, with the bootstrap interval over prompts. Also for other
    ratios of sums."""
    picks = np.random.default_rng(0).integers(0, len(mine), (RESAMPLES, len(mine)))
    resampled = theirs[picks].sum(1) / mine[picks].sum(1)
    found = {"overall": round(float(theirs.sum() / mine.sum()), 4)}
    found["interval"] = np.percentile(resampled, [50 - percent / 2, 50 + percent / 2]).round(4).tolist()
    return found | {"median": round(float(np.median(theirs / mine)), 4), "prompts": len(mine)}


def _row(group: Group, name: str, runs: Runs, times: dict[str, np.ndarray], plain: str, categories: list[str]) -> dict:
    method, mine, every = parse_method(name), runs[name], [cell for repeats in runs[name] for cell in repeats]
    first = [repeats[0] for repeats in mine]
    vanilla, own, tokens = times["vanilla"], times[name], sum(len(cell["ids"]) for cell in first)
    masks = {category: np.array([c == category for c in categories]) for category in dict.fromkeys(categories)}
    row = {"describes": method.describes, "drafter": every[0]["drafter"], "controller": method.controller, "peer": bool(method.peer)}
    row |= {"speedup": ratio(vanilla, own), "speedup_over_fastest_plain": ratio(times[plain], own)}
    row["categories"] = {category: ratio(vanilla[mask], own[mask]) for category, mask in masks.items()}
    row["speedup_by_prompt"] = (vanilla / own).round(4).tolist()
    row["tokens_per_second"] = round(sum(len(repeats[0]["ids"]) for repeats in runs["vanilla"]) / float(own.sum()), 3)
    row["new_tokens"] = tokens
    row["prefill_seconds"] = round(median(cell["prefill_seconds"] for cell in every), 6)
    row["wall_seconds"] = round(sum(cell["wall_seconds"] for cell in every), 3)
    row |= _counts(first, tokens) | _time(every)
    joules = [cell["joules"] for cell in every]
    row["joules_per_token"] = None if None in joules else round(sum(joules) / sum(len(cell["ids"]) for cell in every), 4)
    row["peak_bytes"] = max((cell["peak_bytes"] for cell in every if cell["peak_bytes"]), default=None)
    return row | _identity(group, method.acceptance, mine, runs["vanilla"])


def _counts(first: Sequence[dict], tokens: int) -> dict:
    counts = Acceptance.of_chains(pair for cell in first for pair in cell["rounds"])
    lengths = histogram(counts.draft_lengths, max(counts.draft_lengths))
    draft_passes, by_round = sum(cell["draft_passes"] for cell in first), all(cell.get("by_round", True) for cell in first)
    rounds = np.array([len(cell["rounds"]) for cell in first])  # per prompt
    tokens_of_rounds = rounds + [sum(accepted for _, accepted in cell["rounds"]) for cell in first]
    return {
        "rounds": counts.rounds,
        "drafted": counts.drafted,
        "accepted": counts.accepted,
        "acceptance_rate": round(counts.acceptance_rate, 4) if counts.drafted else None,
        "mean_accepted_length": round(counts.mean_accepted_length, 4),
        "mean_accepted_interval": ratio(tokens_of_rounds, rounds)["interval"],
        "acceptance_per_position": [round(share, 4) for share in counts.acceptance_per_position] if by_round else [],
        "tested_per_position": counts.tested_at if by_round else [],
        "draft_lengths": lengths if by_round else [],
        "draft_lengths_percent": [round(100 * count / counts.rounds, 2) for count in lengths] if by_round else [],
        "target_passes_per_token": round(counts.rounds / tokens, 4),
        "draft_passes_per_token": round(draft_passes / tokens, 4),
        "draft_layers": first[0]["draft_layers"],
    }


def _time(every: Sequence[dict]) -> dict:
    """Shares of decoding time; None for peers, which do not report them."""
    if every[0]["draft_seconds"] is None:
        return {"time": None}
    total, draft, verify = (sum(cell[name] for cell in every) for name in ("seconds", "draft_seconds", "verify_seconds"))
    shares = {"draft": draft / total, "verify": verify / total, "overhead": 1 - (draft + verify) / total}
    return {"time": {name: round(share, 4) for name, share in shares.items()}}


def _identity(group: Group, acceptance: str, mine: list[list[dict]], vanilla: list[list[dict]]) -> dict:
    """The number of prompts whose text equals vanilla's in every repeat, and where the others fork. Not for rejection sampling, which
    writes another text of the same distribution."""
    if group.sampling.temperature and (acceptance or group.sampling.acceptance) == "rejection":
        return {"identical": None, "compared": 0, "forks": []}
    forks = []
    for number, (ours, theirs) in enumerate(zip(mine, vanilla)):
        plain = theirs[0]
        places = [first_difference(plain["ids"], cell["ids"]) for cell in ours]
        place = min((p for p in places if p is not None), default=None)
        if place is not None:
            margin = plain["margins"][place] if place < len(plain["margins"]) else None
            forks.append({"prompt": group.prompts[number].id, "position": place, "margin": margin})
    return {"identical": len(mine) - len(forks), "compared": len(mine), "forks": forks[:FORKS_SHOWN]}


def _regrets(rows: dict[str, dict], times: dict[str, np.ndarray]) -> None:
    """For every controller of the early-exit drafter, against the fixed draft length that turned out fastest: time lost in per cent, and
    its running sum over prompts in milliseconds. Negative: it was faster. `speed`: its speed over that length's on the same prompts (90 %
    interval). `over_beta`: its speed over that of the paper's rule, where that ran."""
    ours = [name for name, row in rows.items() if row["drafter"] == "early-exit" and row["controller"] and "@" not in name]
    best = min((name for name in ours if name.startswith("fixed")), key=lambda name: times[name].sum(), default=None)
    for name, row in rows.items():
        row["regret"] = None
        if best and name in ours:
            lost = times[name] - times[best]
            percent = 100 * float(lost.sum() / times[best].sum())
            row["regret"] = {"against": best, "percent": round(percent, 3), "summed_ms": (1e3 * lost.cumsum()).round(2).tolist()}
            row["regret"]["speed"] = ratio(times[best], times[name], 90)
            row["regret"]["over_beta"] = ratio(times["beta"], times[name], 90) if "beta" in times and name != "beta" else None

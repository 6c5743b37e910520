"""How good the model and its exit layer are: validation loss, loops, and how often the exit layer agrees with the model.

Everything is measured on text that the model has not seen: held-out prose for the loss, continuations of held-out openings for the rest.
The exit layer is judged on the model's own continuations by one teacher-forced pass, which computes the same as drafting as long as
drafts are accepted.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from ..bench import read_prompts
from ..errors import UserError
from ..heads.base import Head, deep_rows
from ..model.target import Target
from ..sampling import Sampler, Sampling
from .corpus import clean, read_records
from .lessons import states_of

TEMPERATURES = (0.0, 0.7, 0.8, 1.0)
LOOP_TAIL, LOOP_BLOCK = 64, 16  # a continuation loops if its last 64 tokens repeat a block of at most 16
ROUND = 8  # drafts per round, for acceptance per position


@torch.inference_mode()
def bits_per_character(target: Target, path: Path) -> float:
    """Loss on the file's texts, cleaned as for training, in separate windows of the whole context. Raises UserError for a file without
    text."""
    bits, characters = 0.0, 0
    for record in read_records(path):
        text = clean(record.get("text", ""))  # records of turns have no text
        ids = target.codec.encode(text)
        for start in range(0, len(ids), target.context - 1):
            part = ids[start : start + target.context - 1]
            row = torch.tensor([[target.tokenizer.eos_token_id, *part]], device=target.device)
            logits = target.model(row[:, :-1], use_cache=False).logits[0].float()  # (T, V)
            bits += torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="sum").item() / math.log(2)
        characters += len(text)
    if not characters:
        raise UserError(f"{path} holds no text: give a JSON Lines file with a `text` field")
    return bits / characters


@torch.inference_mode()
def continuations(target: Target, prompts: list[list[int]], new_tokens: int, temperature: float) -> list[list[int]]:
    """What the model writes after each prompt, in one batch, up to the end-of-text token. Ids, without the prompts."""
    longest, end = max(map(len, prompts)), target.tokenizer.eos_token_id
    padded = torch.tensor([[end] * (longest - len(p)) + p for p in prompts], device=target.device)  # (B, P), padded on the left
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=target.device)
    torch.manual_seed(1)
    how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    rows = target.model.generate(padded, attention_mask=mask, max_new_tokens=new_tokens, pad_token_id=end, **how)[:, longest:].tolist()
    return [row[: next((i + 1 for i, id in enumerate(row) if id in target.end_ids), len(row))] for row in rows]


def loops(ids: Sequence[int]) -> bool:
    tail = ids[-LOOP_TAIL:]
    return len(tail) == LOOP_TAIL and any(tail[block:] == tail[:-block] for block in range(1, LOOP_BLOCK + 1))


def distinct(texts: list[list[int]], n: int) -> float:
    """Number of different n-grams divided by the number of n-grams, over all texts together."""
    grams = [tuple(ids[i : i + n]) for ids in texts for i in range(len(ids) - n + 1)]
    return len(set(grams)) / max(1, len(grams))


@torch.inference_mode()
def judge_drafts(target: Target, layer: Head, prompt: list[int], written: list[int], sampling: Sampling) -> tuple[list[bool], list[float]]:
    """For every written token: whether the exit layer's draft would have been accepted (greedy, or shared noise), and the overlap of the
    two distributions."""
    whole, layer = prompt + written, layer.at(sampling.temperature)
    depths = {layer.exit_after, *layer.taps, target.depth}
    states = states_of(target, torch.tensor([whole], device=target.device), tuple(depths))  # (1, T, D) each
    states = {depth: rows.to(target.dtype) for depth, rows in states.items()}
    before = torch.arange(len(whole), device=target.device)[None]  # deep states of the row before, as for a round's first draft
    deep = deep_rows([states[tap] for tap in layer.taps], before) if layer.taps else None
    early = layer.rows_hidden(target, states[layer.exit_after], deep)[:, len(prompt) - 1 : -1]
    early = layer.along(target, early, whole, len(prompt) - 1)  # (n, V)
    final = target.head(target.norm(states[target.depth])[:, len(prompt) - 1 : -1])
    sampler = Sampler(sampling, target.vocab, target.device)
    p, q = sampler.log_probs(final), sampler.log_probs(early)
    places = range(len(prompt), len(prompt) + len(p))
    same = sampler.scores(final, p, places).argmax(-1) == sampler.scores(early, q, places).argmax(-1)
    return same.tolist(), torch.minimum(p.exp(), q.exp()).sum(-1).tolist()


def acceptance_per_position(matches: list[list[bool]], length: int = ROUND) -> list[float]:
    """Split every text into rounds of `length` drafts. For each position i: of the rounds that tested it, the share that accepted it."""
    tested, accepted = [0] * length, [0] * length
    for same in matches:
        at = 0
        while at < len(same):
            n = next((i for i, ok in enumerate(same[at : at + length]) if not ok), min(length, len(same) - at))
            for i in range(min(n + 1, length, len(same) - at)):
                tested[i] += 1
                accepted[i] += i < n
            at += n + 1
    return [round(a / t, 3) for a, t in zip(accepted, tested) if t]


def evaluate(target: Target, layer: Head | None, validation: Path | None, prompts: Path | None, new_tokens: int) -> dict:
    """Print the report and return it as plain values. Raises UserError without an exit layer, or where the texts exceed the context."""
    if layer is None:
        raise UserError(f"{target.name} has one layer, which leaves nothing to exit from: evaluate judges models with an exit layer")
    openings = [target.codec.encode(prompt) for prompt in read_prompts(prompts, None)]
    room = target.context - max(map(len, openings))
    if not 0 < new_tokens <= room:
        raise UserError(f"the longest prompt leaves {room} tokens of the context: choose --max-new-tokens from 1 to that, not {new_tokens}")
    target.see_whole_rows()
    report: dict = {"model": target.name, "exit_after": layer.exit_after, "new_tokens": new_tokens, "temperatures": {}}
    if validation:
        report["bits_per_character"] = round(bits_per_character(target, validation), 4)
        print(f"validation loss: {report['bits_per_character']:.3f} bits per character on {validation.name} (cleaned as for training)")
    print(f"{len(openings)} openings, {new_tokens} new tokens each:")
    print("   T   loops  distinct-1 -2 -3     agreement  without loops  overlap  acceptance per position")
    for temperature in TEMPERATURES:
        texts = continuations(target, openings, new_tokens, temperature)
        looping = [loops(ids) for ids in texts]
        judged = [judge_drafts(target, layer, o, ids, Sampling(temperature, seed=7)) for o, ids in zip(openings, texts)]
        matches, overlaps = [same for same, _ in judged], [value for _, values in judged for value in values]
        row = {
            "loops": sum(looping),
            "distinct": [round(distinct(texts, n), 3) for n in (1, 2, 3)],
            "agreement": _share(matches),
            "agreement_without_loops": _share([same for same, loop in zip(matches, looping) if not loop]),
            "overlap": round(sum(overlaps) / len(overlaps), 4) if temperature else None,  # undefined for greedy decoding
            "acceptance_per_position": acceptance_per_position(matches),
            "samples": [target.tokenizer.decode(openings[i] + texts[i]) for i in range(0, len(texts), max(1, len(texts) // 5))][:5],
        }
        report["temperatures"][str(temperature)] = row
        grams, positions = "  ".join(f"{x:.2f}" for x in row["distinct"]), " ".join(f"{x:.2f}" for x in row["acceptance_per_position"])
        clean_share, overlap = row["agreement_without_loops"], "-" if row["overlap"] is None else f"{row['overlap']:.3f}"
        print(
            f"{temperature:4.1f}  {row['loops']:3d}/{len(texts)}  {grams:>16}  {row['agreement']:12.3f}  {clean_share:13.3f}"
            f"  {overlap:>7}  {positions}"
        )
    for temperature in ("0.0", "0.8"):
        for text in report["temperatures"][temperature]["samples"]:
            print(f"\n[T = {temperature}] {text}")
    return report


def _share(matches: list[list[bool]]) -> float:
    judged = [ok for same in matches for ok in same]
    return round(sum(judged) / max(1, len(judged)), 4)

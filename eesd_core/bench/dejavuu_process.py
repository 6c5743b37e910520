"""dejavuu in a process of its own: `python dejavuu_process.py JOB` (libraries.py, library_process.py)."""

import time

from library_process import serve

DRAFTERS = {"token-recycling": "token_recycling", "suffix": "suffix_decoding"}


class Ends(frozenset):
    """dejavuu's loop compares a token with the one that ends a text; this is equal to any of several."""

    __eq__ = frozenset.__contains__
    __hash__ = frozenset.__hash__


def load(job: dict):
    import torch
    from dejavuu.decoders.hf import HFBackend

    torch.set_num_threads(job["threads"])
    return HFBackend(job["checkpoint"], device="cpu", dtype=job["dtype"], attn_implementation="sdpa")


def write(model, job: dict, ids: list[int], new_tokens: int) -> dict:
    """The fields of Written. Decoding starts with the prompt's last token, so its time includes the first new token. dejavuu reports drafts
    as sums. Every text gets a new drafter: one that wrote the text before, in another repeat, would know it by heart. Drafts are trees,
    because for chains dejavuu crops the cache in a way that transformers 5.23 refuses."""
    from dejavuu.core.engine import generate
    from dejavuu.drafters import make_drafter

    drafter, began = make_drafter(DRAFTERS[job["method"]]), time.perf_counter()
    result = generate(model, ids, new_tokens, drafter, eos=Ends(job["end_ids"]), tree=True)
    before = result.prefill_s + result.draft_setup_s
    rounds = [[result.drafted, result.accepted]] + [[0, 0]] * (result.steps - 1)
    return {
        "ids": result.tokens, "rounds": rounds, "seconds": time.perf_counter() - began - before, "counted": len(result.tokens),
        "prefill_seconds": before, "draft_passes": 0, "draft_layers": 0, "by_round": False,
    }  # fmt: skip


serve(load, write)

"""economize in a process of its own: `python economize_process.py JOB` (libraries.py, library_process.py)."""

import time

from library_process import serve


def load(job: dict):
    import economize
    import torch
    from economize.techniques.early_exit import EarlyExitConfig
    from economize.techniques.layer_skip import LayerSkipConfig
    from economize.techniques.lookup import LookupConfig
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(job["threads"])
    base = AutoModelForCausalLM.from_pretrained(job["checkpoint"], dtype=getattr(torch, job["dtype"])).eval()
    depth = base.config.num_hidden_layers
    technique, cycle = {
        "early-exit": lambda: (EarlyExitConfig(job["exit"], head="shared"), 4),
        "layer-skip": lambda: (LayerSkipConfig(num_skip=round(depth * 10 / 24), search="uniform"), 4),  # the share in its README
        "lookup": lambda: (LookupConfig(), 6),  # as in its documentation
    }[job["method"]]()
    return economize.apply(base, technique, decoding=economize.DecodeConfig(cycle_length=cycle))


def layers_of(model, job: dict) -> float:
    """Decoder layers that one draft step runs."""
    depth = model.config.num_hidden_layers
    return {"early-exit": job["exit"], "layer-skip": depth - round(depth * 10 / 24), "lookup": 0}[job["method"]]


def write(model, job: dict, ids: list[int], new_tokens: int) -> dict:
    """The fields of Written. The prompt's pass gives the first token; decoding is timed from there on."""
    import torch

    passes, times = [], []

    def seen(event) -> None:
        passes.append([event.drafted, event.accepted])
        times.append(time.perf_counter())

    handle, began = model.add_verify_observer(seen), time.perf_counter()
    result = model.decode(torch.tensor(ids), new_tokens, stop=job["end_ids"] or None)
    ended = time.perf_counter()
    handle.remove()
    written, drafts = result.tokens.tolist(), result.cost_summary()["draft_steps"]
    only = len(written) == 1
    return {
        "ids": written, "rounds": passes, "seconds": ended - (began if only else times[0]), "counted": 1 if only else len(written) - 1,
        "prefill_seconds": times[0] - began, "draft_passes": drafts, "draft_layers": layers_of(model, job),
    }  # fmt: skip


serve(load, write)

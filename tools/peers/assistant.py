"""transformers' assisted generation: `assistant_model`. Runs in the peer's environment: `python assistant.py JOB`, see __main__.py."""

import json
import sys
import time
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer


class Sizes(BaseStreamer):
    """Records how many tokens come out at a time; the first are the prompt."""

    def __init__(self):
        self.sizes: list[int] = []

    def put(self, value) -> None:
        self.sizes.append(value.numel())

    def end(self) -> None:
        pass


@torch.no_grad()
def write(target, draft, job: dict) -> dict:
    texts, drafted, accepted, seconds, rows = [], 0, 0, 0.0, []
    hook = target.lm_head.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[1]))
    how = {"max_new_tokens": job["new_tokens"], "do_sample": False, "eos_token_id": job["end_ids"] or None, "pad_token_id": 0}
    for ids in job["prompts"]:
        prompt, sizes = torch.tensor([ids]), Sizes()
        rows.clear()
        began = time.perf_counter()
        out = target.generate(prompt, attention_mask=torch.ones_like(prompt), assistant_model=draft, streamer=sizes, **how)
        seconds += time.perf_counter() - began
        texts.append(out[0, len(ids) :].tolist())
        if draft is not None:  # the head sees a pass's drafts and the token before them; a pass writes one token more than it accepts
            drafted += sum(rows) - len(rows)
            accepted += sum(sizes.sizes[1:]) - len(rows)
    hook.remove()
    counts = {"drafted": drafted, "accepted": accepted} if draft is not None else {}
    return {"texts": texts, "seconds": seconds} | counts


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    models = [AutoModelForCausalLM.from_pretrained(job[name], dtype=torch.float32).eval() for name in ("target", "draft")]
    target, draft = models
    draft.generation_config.num_assistant_tokens = job["drafts"]
    draft.generation_config.num_assistant_tokens_schedule = "constant"
    draft.generation_config.assistant_confidence_threshold = 0.0
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    print(json.dumps({"versions": versions, "plain": write(target, None, job), "drafted": write(target, draft, job)}))


main()

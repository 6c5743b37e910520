"""The first tokens of a greedy text: by the split target alone, and as transformers itself writes it from the same folder."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from eesd_core.model.target import Target


@torch.no_grad()
def ours(target: Target, ids: list[int], new_tokens: int) -> list[int]:
    cache, text = target.new_cache(len(ids) + new_tokens), list(ids)
    cache.prompt = len(ids)
    while len(text) < len(ids) + new_tokens:
        start = cache.lengths[0]
        hidden = target.run_range(0, target.depth, target.embed(text[start:], start), cache, start)
        text.append(int(target.logits(hidden[:, -1:]).argmax()))
    return text[len(ids) :]


def theirs(folder: Path, ids: list[int], new_tokens: int) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False, use_safetensors=True
    ).eval()
    model.generation_config, prompt = GenerationConfig(pad_token_id=0), torch.tensor([ids])
    return model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new_tokens, do_sample=False)[
        0, len(ids) :
    ].tolist()

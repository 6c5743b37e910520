"""The card of a draft model (README.md in its folder): what it was cut from, under whose licence, how it is used."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .draft_model import Cut

CARD = """\
---
license: {licence}
base_model: {base}
library_name: transformers
pipeline_tag: text-generation
tags: [speculative-decoding, draft-model, early-exit]
---
# A draft model for {base}

It is of no use alone: it guesses what {base} writes next, for that model to accept or correct. The first {depth} of its
{all} layers, {exit}, and its head, cut out with EESD Live (`python -m eesd_core export-draft`):
{parameters:,} parameters, {megabytes:.1f} MB. Weights: {weights}.

{same}

Licence: {terms}.

## Use

It needs the same tokenizer as its target, which is here too. Where TARGET is {base} and DRAFT this folder:

transformers:

    target = AutoModelForCausalLM.from_pretrained(TARGET, dtype="auto")
    draft = AutoModelForCausalLM.from_pretrained(DRAFT, dtype="auto")
    draft.generation_config.num_assistant_tokens = 4  # drafts a round; transformers begins with 20
    target.generate(**inputs, assistant_model=draft)

vLLM:

    vllm serve TARGET --speculative-config '{{"model": "DRAFT", "method": "draft_model", "num_speculative_tokens": 4}}'

llama.cpp, from GGUF files of both{converted}:

    llama-server -m TARGET.gguf -md {gguf} --draft-max 4

In EESD itself these layers are the target's own and cost nothing twice: there the exit layer's files are used, not this model.
"""

SAME = """\
Checked when it was cut: over {places} tokens of text its logits in float32 are those of the exit layer; the largest difference is
{apart:.1e} of their spread. The exit layer may read a shortlist of the head's rows; this model reads all of them."""


def card_of(cut: "Cut") -> str:
    head, facts = cut.head, source_facts(cut)
    layers = len(head.layers)
    own = f"a trained exit {'layer' if layers == 1 else f'of {layers} layers'} and its norm" if layers else "its norm"
    kind = {"sampled": "those that draft where tokens are drawn", "greedy": "those that draft when decoding is greedy"}[cut.weights]
    same = SAME.format(places=cut.places, apart=cut.apart)
    licence, base = facts.get("license"), facts.get("base_model", cut.target.name)
    terms = f"{licence}, as that of {base}" if licence else f"that of {base}"
    return CARD.format(
        licence=licence or "other", base=base, depth=head.exit_after, all=cut.target.depth, exit=own, parameters=cut.parameters,
        megabytes=cut.bytes / 1e6, weights=kind if layers else "the target's own", same=same, terms=terms,
        gguf=cut.gguf or "DRAFT.gguf", converted="" if cut.gguf else " (`convert_hf_to_gguf.py DRAFT --outtype bf16`)",
    )  # fmt: skip


def source_facts(cut: "Cut") -> dict[str, str]:
    """`license` and `base_model`, where they are one line, from the header of the README.md next to the weights or the exit layer."""
    source = cut.target.source
    facts: dict[str, str] = {"base_model": "EESD Live's storyteller"} if source.name == "embedded model" else {}
    for folder in filter(None, (Path(source.checkpoint), source.heads)):
        try:
            lines = (folder / "README.md").read_text(encoding="utf-8").split("---\n")[1].splitlines()
        except (OSError, ValueError, IndexError):
            continue
        named = (line.partition(": ") for line in lines)
        facts = {key: value.strip() for key, _, value in named if key in ("license", "base_model") and value.strip()} | facts
    return facts

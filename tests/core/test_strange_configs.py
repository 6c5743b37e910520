"""A config.json with keys of other families in it: the text is transformers', or the model is refused in one line.

Many models of the Hub were made from others, and keys stay behind. Some are ignored by the architecture, some are obeyed where nobody
expects it, and `generate()`'s cache reads some that the layers do not.
"""

import json
from random import Random

import pytest
from greedy_text import ours, theirs
from tiny_families import VARIANTS, tiny

from eesd_core.errors import UserError
from eesd_core.model.load import load_target

DRAWS, NEW, PROMPT = 200, 3, list(range(40, 70))
SLIDING, FULL = "sliding_attention", "full_attention"
KEYS: dict[str, list] = {
    "sliding_window": [8, 20, 4096, None], "use_sliding_window": [True, False], "max_window_layers": [0, 2, 28],
    "layer_types": [[SLIDING] * 4, [FULL] * 4, [SLIDING, FULL] * 2], "attention_chunk_size": [8],
    "is_causal": [True, False], "is_decoder": [True, False], "add_cross_attention": [True, False],
    "use_bidirectional_attention": [True, False],
    "final_logit_softcapping": [5.0, 30.0, None], "attn_logit_softcapping": [5.0, 50.0, None], "query_pre_attn_scalar": [24, 256],
    "num_key_value_heads": [1, 2, 4], "head_dim": [8, 16, 32], "multi_query": [True], "n_inner": [64, None], "n_head": [2],
    "n_positions": [64],
    "rope_theta": [100.0, 1e6], "rotary_emb_base": [100], "rotary_pct": [0.5], "partial_rotary_factor": [0.5, 1.0],
    "rope_local_base_freq": [50.0], "rope_interleaved": [True], "original_max_position_embeddings": [64],
    "max_position_embeddings": [96, 4096],
    "rope_scaling": [
        {"rope_type": "linear", "factor": 4.0}, {"type": "dynamic", "factor": 2.0}, None,
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    ],
    "no_rope_layers": [[0, 1, 0, 1]], "no_rope_layer_interval": [2], "attention_bias": [True, False], "mlp_bias": [True],
    "qkv_bias": [True],
    "use_parallel_residual": [True, False], "parallel_attn": [True], "scale_attn_by_inverse_layer_idx": [True],
    "scale_attn_weights": [False],
    "reorder_and_upcast_attn": [True], "logit_scale": [0.5], "embedding_multiplier": [2.0], "residual_multiplier": [0.5],
    "logits_scaling": [2.0], "attention_multiplier": [0.1], "clip_qkv": [1.0], "use_qk_norm": [True], "norm_after": [True],
    "tie_word_embeddings": [True], "rms_norm_eps": [1e-2], "layer_norm_eps": [1e-2], "layer_norm_epsilon": [1e-2],
    "hidden_act": ["gelu", "silu"], "hidden_activation": ["gelu"], "activation_function": ["relu"], "pretraining_tp": [2],
    "attention_dropout": [0.1], "resid_pdrop": [0.1], "cache_implementation": ["hybrid"], "num_kv_shared_layers": [2],
    "moe_intermediate_size": [64],
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory, engine) -> dict:
    """Every family as files, and its config.json as it was."""
    made = {}
    for variant in VARIANTS:
        folder = tmp_path_factory.mktemp("family")
        tiny(variant).save_pretrained(folder)
        engine.target.tokenizer.save_pretrained(folder)
        made[variant] = folder, json.loads((folder / "config.json").read_text())
    return made


def outcome(folder) -> str:
    """`same`, `refused`, or what is wrong."""
    try:
        written = ours(load_target(folder, "cpu", "float32"), PROMPT, NEW)
    except UserError as problem:
        return "refused" if "\n" not in str(problem) else f"several lines: {problem}"
    except Exception as problem:
        return f"raised {type(problem).__name__}: {problem}"
    try:
        expected = theirs(folder, PROMPT, NEW)
    except Exception as problem:
        return f"wrote {written}, and transformers raises {type(problem).__name__}: {str(problem)[:100]}"
    return "same" if written == expected else f"wrote {written}, and transformers {expected}"


def test_as_they_are_all_families_write_transformers_text(folders):
    assert {variant: outcome(folder) for variant, (folder, _) in folders.items()} == dict.fromkeys(folders, "same")


def test_keys_of_other_families(folders):
    random, count, wrong = Random(5), {"same": 0, "refused": 0}, []
    for number in range(DRAWS):
        variant = list(VARIANTS)[number % len(VARIANTS)]
        folder, usual = folders[variant]
        added = {key: random.choice(KEYS[key]) for key in random.sample(list(KEYS), random.choice((1, 1, 2, 3)))}
        (folder / "config.json").write_text(json.dumps(usual | added))
        found = outcome(folder)
        (folder / "config.json").write_text(json.dumps(usual))
        if found in count:
            count[found] += 1
        else:
            wrong.append((variant, added, found))
    assert not wrong, "\n".join(map(str, wrong))
    assert count["same"] > DRAWS // 3 and count["refused"] > DRAWS // 20  # both kinds were met

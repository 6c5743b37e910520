"""What vLLM and llama.cpp say of a request, and what nobody can say of one."""

import copy

VLLM = {  # figures as vLLM 0.32.0 gave them for the storyteller
    "id": "cmpl-1", "object": "text_completion", "model": "storyteller", "system_fingerprint": "vllm-0.32.0",
    "choices": [{"index": 0, "text": " who had a son.", "finish_reason": "stop", "stop_reason": None}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 14, "total_tokens": 23},
    "metrics": {"generation_time_ms": 250.0, "speculative_decoding": {
        "mean_acceptance_length": 2.3333333333333335, "draft_acceptance_rate": 0.3333333333333333, "acceptance_histogram": [2, 1, 2, 1, 0],
        "num_spec_steps": 6, "num_accepted_draft_tokens": 8, "num_draft_tokens": 24, "num_spec_tokens": 4,
        "per_step_accepted": [0, 2, 0, 2, 1, 3], "per_step_drafted": [4, 4, 4, 4, 4, 4],
    }},
}  # fmt: skip
LLAMA = {  # as llama.cpp's own endpoint
    "content": " who had a son.", "tokens": [482, 355, 262], "model": "t.gguf", "stop_type": "limit", "tokens_predicted": 32,
    "timings": {"prompt_n": 9, "prompt_ms": 27.796, "predicted_n": 32, "predicted_ms": 636.917, "draft_n": 70, "draft_n_accepted": 27},
}  # fmt: skip


def changed(where: str, value) -> dict:
    reply = copy.deepcopy(VLLM)
    *path, last = where.split(".")
    inner = reply
    for name in path:
        inner = inner[name]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return reply


SPEC = "metrics.speculative_decoding"


WRONG = [
    (f"{SPEC}.num_draft_tokens", 10**30), (f"{SPEC}.num_draft_tokens", -1), (f"{SPEC}.num_draft_tokens", KeyError),
    (f"{SPEC}.num_draft_tokens", 24.5), (f"{SPEC}.num_draft_tokens", "24"), (f"{SPEC}.num_draft_tokens", True),
    (f"{SPEC}.num_draft_tokens", 25), (f"{SPEC}.num_spec_steps", 7), (f"{SPEC}.num_accepted_draft_tokens", 25),
    (f"{SPEC}.draft_acceptance_rate", float("nan")), (f"{SPEC}.draft_acceptance_rate", 0.5), (f"{SPEC}.draft_acceptance_rate", -1),
    (f"{SPEC}.mean_acceptance_length", float("inf")), (f"{SPEC}.mean_acceptance_length", 1e300),
    (f"{SPEC}.acceptance_histogram", [2, 1, 2, 1, 1]), (f"{SPEC}.acceptance_histogram", [0] * 10**5),
    (f"{SPEC}.acceptance_histogram", [6, -1, 1, 0, 0]), (f"{SPEC}.per_step_accepted", [0, 2, 0, 2, 1, -3]),
    (f"{SPEC}.per_step_accepted", [0, 5, 0, 2, 1, 0]), (f"{SPEC}.per_step_accepted", [0, 2]), (f"{SPEC}.per_step_accepted", KeyError),
    (f"{SPEC}.per_step_drafted", [10**9] * 6), (f"{SPEC}.per_step_drafted", {"0": 4}), (f"{SPEC}.num_spec_tokens", 10**6),
    (SPEC, []), (SPEC, None), ("metrics", "none"), ("usage", KeyError), ("usage.completion_tokens", 10**12),
    ("usage.completion_tokens", float("nan")), ("metrics.generation_time_ms", -5), ("metrics.generation_time_ms", float("inf")),
    ("choices", [{}, {}]), ("prompt_token_ids", [1, -2]),
]  # fmt: skip

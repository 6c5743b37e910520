"""vLLM on a CPU with a draft model, and with n-grams. Runs in the peer's environment: `python vllm_cpu.py JOB`, see __main__.py."""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
from vllm import LLM, SamplingParams


def write(job: dict, drafting: dict | None = None) -> dict:
    more = {}
    if drafting:
        more["speculative_config"] = {"num_speculative_tokens": job["drafts"]} | drafting
        more["per_request_spec_decode_metrics"] = "detailed"
    engine = LLM(job["target"], dtype="float32", max_model_len=1024, max_num_seqs=1, enforce_eager=True, **more)
    how = SamplingParams(temperature=0.0, max_tokens=job["new_tokens"], stop_token_ids=job["end_ids"], detokenize=False)
    engine.generate({"prompt_token_ids": job["prompts"][0]}, how, use_tqdm=False)  # the first call compiles
    texts, metrics, seconds = [], [], 0.0
    for ids in job["prompts"]:
        began = time.perf_counter()
        written = engine.generate({"prompt_token_ids": ids}, how, use_tqdm=False)[0].outputs[0]
        seconds += time.perf_counter() - began
        texts.append(list(written.token_ids))
        metrics += [written.spec_decode_metrics.to_dict()] if drafting and written.spec_decode_metrics else []
    counts = {}
    if drafting:
        counts = {"drafted": sum(one["num_draft_tokens"] for one in metrics)}
        counts |= {"accepted": sum(one["num_accepted_draft_tokens"] for one in metrics), "metrics": metrics}
    return {"texts": texts, "seconds": seconds} | counts


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    found = {"plain": write(job), "drafted": write(job, {"method": "draft_model", "model": job["draft"]})}
    found["ngram"] = write(job, {"method": "ngram"})
    print(json.dumps({"versions": {name: version(name) for name in ("vllm-cpu", "torch", "transformers")}} | found))


if __name__ == "__main__":
    main()

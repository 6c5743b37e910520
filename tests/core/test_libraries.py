"""economize and dejavuu in the benchmark: what they say is what is counted, what keeps them from running is one line. A small script stands
in for them; economize itself runs where it is installed."""

import sys

import pytest

from eesd_core.bench.libraries import Library, Process, process_of
from eesd_core.bench.methods import parse_method
from eesd_core.errors import UserError
from eesd_core.loading import load_engine
from eesd_core.metrics import Metrics
from eesd_core.request import Request
from eesd_core.sampling import Sampling

STAND_IN = """
import json, sys
job = json.loads(sys.argv[1])
if job["method"] == "broken": sys.exit(1)
print(json.dumps({"error": "ValueError no such layer"} if job["exit"] == 99 else {"ready": True}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    ids = list(range(asked["new_tokens"]))
    said = {"ids": ids, "rounds": [[3, 1]] * 5, "seconds": 0.5, "counted": 9, "prefill_seconds": 0.1, "draft_passes": 15, "draft_layers": 2}
    print(json.dumps(said if ids else {"error": "IndexError nothing to do"}), flush=True)
"""


@pytest.fixture(scope="module")
def engine_of_files(model_folder):
    return load_engine(str(model_folder), None, "cpu", "float32")


@pytest.fixture
def stand_in(tmp_path):
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    return Process(sys.executable, path)


def test_what_they_say_is_what_is_counted(engine_of_files, stand_in):
    library = Library(engine_of_files.target, "economize+lookup", 2, stand_in)
    try:
        written = library.write([1, 2, 3], 10, Sampling())
        assert written.ids == list(range(10)) and written.seconds == 0.5 and written.counted == 9 and written.by_round
        with pytest.raises(UserError, match="--temperature 0"):
            library.write([1], 2, Sampling(0.8))
        with pytest.raises(UserError, match="economize gave no answer: IndexError nothing to do"):
            library.write([1], 0, Sampling())
        library.process.kill()
        library.process.wait()
        with pytest.raises(UserError, match="has ended"):
            library.write([1], 2, Sampling())
    finally:
        library.close()


def test_what_keeps_them_from_running_is_one_line(engine, engine_of_files, stand_in, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"does not run here on .*: it has ended"):
        Library(engine_of_files.target, "economize+broken", 2, stand_in)
    with pytest.raises(UserError, match=r"does not run here on .*: ValueError no such layer"):
        Library(engine_of_files.target, "economize+early-exit", 99, stand_in)
    with pytest.raises(UserError, match="a checkpoint as it is"):
        Library(engine.target, "economize+lookup", 2, stand_in)  # made in memory
    monkeypatch.setattr(engine_of_files.target, "precision", "int8")
    with pytest.raises(UserError, match="weights in int8: leave out --quantize"):
        Library(engine_of_files.target, "economize+lookup", 2, stand_in)
    monkeypatch.setenv("EESD_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"not installed, and needs Python 3.13: python3.13 -m venv .*dejavuu\[hf\]==0.2.0"):
        process_of("dejavuu")


def test_their_names_are_methods():
    assert parse_method("economize+early-exit:4").setting == 4 and parse_method("dejavuu+suffix").peer == "dejavuu+suffix"
    with pytest.raises(UserError, match="no setting"):
        parse_method("dejavuu+suffix:4")


@pytest.mark.parametrize("method", ["early-exit", "layer-skip", "lookup"])
def test_economize_writes_the_same(engine_of_files, method):
    pytest.importorskip("economize", reason="economize is not installed: pip install -r requirements-peers.txt")
    library, ids = Library(engine_of_files.target, f"economize+{method}", 2), engine_of_files.target.codec.encode("Once upon a time")
    try:
        written = library.write(ids, 24, Sampling())
    finally:
        library.close()
    plain = Metrics.fold(engine_of_files.run(Request("Once upon a time", 24, method="vanilla")), "vanilla").token_ids
    assert written.ids == plain and sum(accepted + 1 for _, accepted in written.rounds) >= 24
    assert written.seconds > 0 and written.draft_passes == (0 if method == "lookup" else sum(drafted for drafted, _ in written.rounds))

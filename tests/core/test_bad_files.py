"""Files that are there but wrong: one line, or it is a bug."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from eesd_core.errors import UserError
from eesd_core.events import Record, RunStarted
from eesd_core.loading import load_engine
from eesd_core.trace import open_trace, to_line


@pytest.fixture
def copy(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "model")


def edit(name: str, **changes):
    def change(folder):
        facts = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(facts | changes))

    return change


def write(name: str, data: bytes):
    return lambda folder: (folder / name).write_bytes(data)


def drop_tensor(name: str, key: str):
    def change(folder):
        tensors = load_file(folder / name)
        del tensors[key]
        save_file(tensors, folder / name, metadata={"format": "pt"})

    return change


def folder_instead(name: str):
    def change(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


FILES = {
    "config is no JSON": write("config.json", b"{"),
    "config without a type": write("config.json", b"{}"),
    "empty weights": write("model.safetensors", b""),
    "tokenizer is no JSON": write("tokenizer.json", b"nonsense"),
    "exit layer facts are a list": write("exit_layer.json", b"[]"),
    "exit layer facts are binary": write("exit_layer.json", b"\xff\xfe"),
    "exit depth too large": edit("exit_layer.json", exit_after=9),
    "exit depth is no number": edit("exit_layer.json", exit_after="two"),
    "exit layer lacks a tensor": drop_tensor("exit_layer.safetensors", "norm.weight"),
    "width does not fit": edit("config.json", hidden_size=32),
    "tokenizer is another JSON": write("tokenizer.json", b"{}"),
    "exit layer facts are a folder": folder_instead("exit_layer.json"),
    "exit layer of a later format": edit("exit_layer.json", format="eesd-exit-layer/3"),
}


@pytest.mark.parametrize("change", FILES.values(), ids=FILES.keys())
def test_a_broken_file_is_one_line(copy, change):
    change(copy)
    with pytest.raises(UserError) as caught:
        load_engine(str(copy), device="cpu", dtype="float32")
    assert "\n" not in str(caught.value)


def test_an_exit_layer_that_is_a_file(copy):
    with pytest.raises(UserError):
        load_engine(str(copy), str(copy / "exit_layer.json"), "cpu", "float32")


def test_a_model_that_lacks_a_tensor(copy):
    drop_tensor("model.safetensors", "model.layers.1.mlp.up_proj.weight")(copy)
    with pytest.raises(UserError):
        load_engine(str(copy), device="cpu", dtype="float32", need_exit_layer=False)


STARTED = RunStarted("eesd", "m", "cpu", "float32", "exact-as-observed", "Once", (1, 2), {}, {})
LINE = to_line(Record("r", "eesd", 0, 0.0, STARTED))
TRACES = {"cut off": LINE[:-9].encode(), "a string": b'"x"\n', "null": b"null\n", "type is a list": b'{"type":[]}\n'}
TRACES |= {
    "not UTF-8": b"\xff\xfe\n",
    "deeply nested": b"[" * 200_000,
    "seq is no number": LINE.replace('"seq":0', '"seq":"x"').encode(),
}


@pytest.mark.parametrize("data", TRACES.values(), ids=TRACES.keys())
def test_a_broken_trace_is_one_line(tmp_path, data):
    path = tmp_path / "t.ndjson"
    path.write_bytes(LINE.encode() + data)
    with pytest.raises(UserError, match="line 2"):
        open_trace(path)


def test_a_trace_of_a_later_format_is_refused(tmp_path, engine):
    from eesd_core.request import Request

    first = json.loads(to_line(next(iter(engine.run(Request("a", 1))))))
    (tmp_path / "t.ndjson").write_text(json.dumps(first | {"format": "eesd-trace/3"}) + "\n")
    with pytest.raises(UserError):
        open_trace(tmp_path / "t.ndjson")


def test_an_unreadable_trace(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError):
            open_trace(path)

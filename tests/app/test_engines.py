"""The choice of the weights' precision belongs to a request; an engine is loaded once, and what does not work is one clear line."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from fake_engine import FakeEngine

from app.arrival import Arrival
from app.engines import Beside, Engines, Wanted
from app.form import FIELDS
from app.form_values import Limits, quantize_from_form
from app.routes import state_of
from app.runs import Visits
from eesd_core.errors import UserError
from eesd_core.heads.files import HEAD_FACTS
from eesd_core.model import quantize as quantize_module
from eesd_core.model.catalog import KNOWN
from eesd_core.racing import race


class Loader:
    def __init__(self):
        self.loaded, self.go = [], threading.Event()  # cleared: another precision than the host's waits until it is set
        self.go.set()

    def __call__(self, quantize: str) -> FakeEngine:
        self.loaded.append(quantize)
        assert quantize == "none" or self.go.wait(60)
        if quantize == "4bit":
            raise RuntimeError("cannot open shared object\nfile <x>")
        return FakeEngine()


def form_of(values: dict) -> list:
    return [(values | {"prompt": "Once"}).get(field.name, field.value) for field in FIELDS]


def in_a_loop(coroutine):
    """In a thread of its own, because Playwright keeps a loop running in the main thread once a browser test has run."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def lines_of(visits: Visits, *sessions: dict) -> list[list[dict]]:
    async def visit(number: int, values: dict) -> list[dict]:
        text = [part async for part in visits.run(f"s{number}", f"address {number}", *form_of(values))][-1]
        return [json.loads(line) for line in text.splitlines()]

    async def all_of_them():
        return await asyncio.gather(*(visit(number, values) for number, values in enumerate(sessions)))

    return in_a_loop(all_of_them())


def test_each_request_has_its_own_and_each_is_loaded_once():
    load = Loader()
    visits = Visits.load(load, choice=True)
    visits.contest = race
    runs = lines_of(visits, {}, {"quantize": "8bit"}, {"quantize": "none"}, {"quantize": "8bit"}, {"quantize": ""})
    assert [run[-1]["type"] for run in runs] == ["race_finished"] * 5
    assert load.loaded == ["none", "8bit"]
    assert len(visits.engines.engine(Wanted("", "8bit")).prompts) == 2 and len(visits.engine.prompts) == 3


def test_loading_is_said_and_takes_nothing_of_the_first_run():
    load = Loader()
    load.go.clear()
    visits = Visits.load(load, Limits(seconds=1.0))
    visits.contest = race

    async def visit():
        texts = visits.run("a", "here", *form_of({"quantize": "8bit"}))
        said = []
        while not said or said[-1] < 2:  # rounded: longer than a run may take
            said = [json.loads(line)["loading"] for line in (await anext(texts)).splitlines() if '"loading"' in line]
        assert said == sorted(set(said))
        load.go.set()
        assert '"race_finished"' in [text async for text in texts][-1]

    in_a_loop(visit())
    assert not any("loading" in line for line in lines_of(visits, {"quantize": "8bit"})[0])


def test_stop_is_answered_while_weights_are_loaded_and_the_next_one_hears_why_it_waits():
    load = Loader()
    load.go.clear()
    visits = Visits.load(load)
    visits.contest = race

    async def visit():
        first = visits.run("a", "here", *form_of({"quantize": "8bit"}))
        while '"loading"' not in (text := await anext(first)):
            pass
        await visits.stop("a")
        lines = [json.loads(line) for line in [text async for text in first][-1].splitlines()]
        assert lines[-1] == {"type": "stopped", "message": "by you"} and not load.go.is_set()
        second = visits.run("b", "here", *form_of({}))
        while '"loading"' not in (text := await anext(second)):
            pass
        assert json.loads(text.splitlines()[-1])["place"] == 1
        load.go.set()
        texts = [text async for text in second]
        assert json.loads(texts[-1].splitlines()[-1])["type"] == "race_finished"

    in_a_loop(visit())


def test_the_hosts_choice_is_where_it_starts():
    load = Loader()
    visits = Visits.load(load, quantize="8bit")
    visits.contest = race
    lines_of(visits, {}, {"quantize": "none"})
    assert load.loaded == ["8bit", "none"] and visits.engine is visits.engines.engine(Wanted("", "8bit"))


def test_what_crashes_is_one_line_and_the_next_run_works():
    visits = Visits.load(Loader())
    visits.contest = race
    failed, fine = lines_of(visits, {"quantize": "4bit"}, {})
    assert failed[-1]["message"] == (
        "4bit weights do not work on this machine (cannot open shared object file <x>): choose another precision"
    )
    assert fine[-1]["type"] == "race_finished"


def test_a_model_of_the_hosts_own_is_not_offered_twice():
    visits = Visits.load(Loader(), choice=False)
    visits.contest = race
    refused, fine = lines_of(visits, {"quantize": "8bit"}, {"quantize": "none"})
    assert "one precision" in refused[-1]["message"]
    assert fine[-1]["type"] == "race_finished"


@pytest.mark.parametrize("value", ["2bit", 4, ["8bit"], True, "../../x"])
def test_other_precisions_are_refused(value):
    with pytest.raises(UserError, match="weights must be one of none, q8, q4, 4bit, 8bit"):
        quantize_from_form(quantize=value)
    with pytest.raises(UserError):
        Engines(None, load=Loader()).wanted("2bit")


def test_without_bitsandbytes_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(quantize_module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install bitsandbytes"):
        quantize_module.check_quantize("8bit", None, torch.device("cpu"), "any")
    quantize_module.check_quantize("none", None, torch.device("cpu"), "any")


def test_a_model_beside_the_hosts_is_chosen_by_name_and_loaded_once():
    host, other = Loader(), Loader()
    visits = Visits.load(host, model="storyteller", beside={"smollm2": Beside(other, Arrival("smollm2"))})
    visits.contest = race
    runs = lines_of(visits, {}, {"model": "smollm2"}, {"model": "storyteller"}, {"model": "smollm2", "quantize": "8bit"})
    assert [run[-1]["type"] for run in runs] == ["race_finished"] * 4
    assert (host.loaded, other.loaded) == (["none"], ["none", "8bit"])
    assert [entry["state"] for entry in visits.engines.state()] == ["ready", "ready"]
    refused = lines_of(visits, {"model": "../../x"}, {"model": 7}, {"model": "gpt"})
    assert [run[-1]["type"] for run in refused] == ["error"] * 3
    assert refused[2][-1]["message"] == "this server has no model 'gpt': choose one of storyteller, smollm2"


def test_the_level_of_every_engine_is_told_whatever_its_precision():
    """A visitor may begin with another precision than the host's."""
    visits = Visits.load(Loader(), model="storyteller", beside={"smollm2": Beside(Loader(), Arrival("smollm2"))})
    visits.contest = race
    lines_of(visits, {"model": "smollm2", "quantize": "q8"})
    visits.engines.engine(Wanted("smollm2", "q8")).level = "exact-as-observed"
    host, other = state_of(visits)["models"]
    assert host["level"] == host["loaded"]["none"]["level"] == "exact-by-construction"
    assert "level" not in other and other["loaded"] == {"q8": {"dtype": "float32", "level": "exact-as-observed"}}
    lines_of(visits, {"model": "smollm2"})
    other = state_of(visits)["models"][1]
    assert other["level"] == "exact-by-construction" and list(other["loaded"]) == ["q8", "none"]


def test_what_is_still_on_its_way_is_said_and_comes_without_a_restart():
    gate, told = threading.Event(), threading.Event()

    def bring(progress):
        progress(30_000_000, 98_000_000)
        told.set()
        assert gate.wait(60)

    arrival = Arrival("smollm2", bring).begin()
    visits = Visits.load(Loader(), model="storyteller", beside={"smollm2": Beside(Loader(), arrival)})
    visits.contest = race
    assert told.wait(60)
    waiting, meanwhile = lines_of(visits, {"model": "smollm2"}, {})
    assert waiting[-1]["message"].startswith("smollm2 is still on its way (30 of 98 MB)") and meanwhile[-1]["type"] == "race_finished"
    assert visits.engines.state()[1] == {"model": "smollm2", "state": "fetching", "done": 30_000_000, "total": 98_000_000, "loaded": {}}
    gate.set()
    while not arrival.ready:
        time.sleep(0.01)
    assert lines_of(visits, {"model": "smollm2"})[0][-1]["type"] == "race_finished"


@pytest.mark.parametrize(("problem", "said"), [(UserError("no network"), "no network"), (RuntimeError("x"), "RuntimeError")])
def test_what_cannot_be_fetched_is_one_line_and_the_server_goes_on(problem, said):
    def bring(progress):
        raise problem

    arrival = Arrival("smollm2", bring).begin()
    while not arrival.problem:
        time.sleep(0.01)
    visits = Visits.load(Loader(), model="storyteller", beside={"smollm2": Beside(Loader(), arrival)})
    visits.contest = race
    failed, fine = lines_of(visits, {"model": "smollm2"}, {})
    assert failed[-1]["message"] == f"smollm2 could not be fetched ({said}): choose another model"
    assert fine[-1]["type"] == "race_finished"


def test_who_is_asked_and_who_tells_a_story():
    host = FakeEngine()
    host.target = SimpleNamespace(**vars(host.target) | {"codec": SimpleNamespace(has_chat=True)})
    beside = {"smollm2": None}
    assert Engines(host, model="some/chat-model", beside=beside).replies("some/chat-model")
    assert Engines(host, model="storyteller", beside=beside).replies("smollm2")
    assert not Engines(host, model="storyteller", beside=beside).replies("storyteller"), "it has turns, but tells stories"


def test_the_heads_of_a_model_are_known_before_it_is_loaded(tmp_path, monkeypatch):
    """Of the host's from its engine, of a model beside it from its files."""
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / HEAD_FACTS).write_text("{}")
    (tmp_path / "no-kind").mkdir()
    monkeypatch.setitem(KNOWN, "smollm2", KNOWN["smollm2"]._replace(heads=tmp_path))
    engine = FakeEngine()
    engine.heads = {"glide": None}
    engines = Engines(engine, "none", model="storyteller", beside={"smollm2": Beside(Loader(), Arrival("smollm2", print))})
    assert {name: engines.heads(name) for name in engines.models} == {"storyteller": ["glide"], "smollm2": ["block"]}

"""The host's model may still be loading, and one beside it still be fetched: the page says how far it is, and changes over by itself."""

import re
import threading

import pytest
from app_page import reach, state, until_ready
from playwright.sync_api import expect
from renderer_page import no_sideways_scroll

from app.arrival import Arrival
from app.engines import Beside, Engines
from app.form_values import Limits
from app.page import launch
from app.runs import Visits
from app.studies import examples_of


@pytest.fixture
def gate():
    return threading.Event()


@pytest.fixture
def served(paced, gate):
    def bring(progress):
        progress(34_000_000, 98_000_000)
        assert gate.wait(120)

    beside = {"smollm2": Beside(lambda quantize: paced, Arrival("smollm2", bring).begin())}
    visits = Visits.load(lambda quantize: paced, Limits(runs_a_minute=1000), model="storyteller", beside=beside)
    app = launch(visits, prevent_thread_lock=True, quiet=True)
    yield app.local_url
    gate.set()
    app.close()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_a_model_arrives_while_the_page_is_open(open_page, served, gate, width, theme):
    page = open_page(f"{served}?__theme={theme}", width, 800)
    told = page.locator(".eesd-arrivals")
    expect(told).to_have_text("fetching smollm2: 34 of 98 MB")
    assert no_sideways_scroll(page)
    gate.set()
    expect(told).to_have_text("smollm2 is ready: choose it beside the prompt")
    page.locator("#model input").click()
    page.get_by_role("option", name="smollm2").click()
    assert page.locator("#model").bounding_box()["y"] == page.locator("#examples").bounding_box()["y"]
    expect(page.locator("#prompt textarea")).to_have_value(examples_of(chat=True)[0]["prompt"])
    assert no_sideways_scroll(page)
    page.close()


@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (390, "light")])
def test_precisions_race_under_each_other(open_page, served, width, theme):
    page = open_page(f"{served}?temperature=0&new_tokens=8&paused=1&__theme={theme}", width, 800)
    race = page.locator(".s-precisions")
    race.locator(".s-start").click()
    expect(race.locator(".w-table tbody tr")).to_have_count(3, timeout=120_000)
    assert race.locator(".w-table th[scope=row]").all_inner_texts() == ["unquantised", "q8", "q4"]
    assert race.locator(".w-table td:nth-child(6)").all_inner_texts() == ["identical"] * 3
    expect(race.locator(".m-lane")).to_have_count(6)
    assert "a pass over 4 rows takes" in race.locator("li").first.inner_text()
    assert no_sideways_scroll(page)
    page.close()


@pytest.fixture
def early(paced, gate):
    """A server whose model is loaded once the gate is open."""

    def load(quantize):
        assert gate.wait(120)
        return paced

    arrival = Arrival("smollm2", print)  # of a file that two models share; not begun yet
    beside = {name: Beside(load, arrival) for name in ("smollm2", "smollm2-early")}
    visits = Visits(Engines(None, "none", load, "storyteller", beside), Limits(runs_a_minute=1000))
    app = launch(visits, prevent_thread_lock=True, quiet=True)
    loading = threading.Thread(target=visits.make_ready)
    loading.start()
    yield app.local_url
    gate.set()
    loading.join()
    app.close()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_run_waits_until_the_model_is_loaded(open_page, early, gate, width, theme):
    page = open_page(f"{early}?temperature=0&new_tokens=8&__theme={theme}", width, 800)
    until_ready(page)
    reach(page, "finished")  # the recorded race
    expect(page.locator(".eesd-arrivals")).to_have_text(re.compile(r"^the model is loading: \d+ s$"))
    assert no_sideways_scroll(page)
    page.locator("#run").click()
    expect(page.locator(".e-status-text")).to_have_text(re.compile(r"The model is loading: \d+ s so far"))
    expect(page.locator(".eesd-level")).to_be_hidden()
    gate.set()
    reach(page, "finished")
    assert state(page)["tokens"]["eesd"] == 8
    expect(page.locator(".eesd-level")).to_contain_text("exact")
    expect(page.locator(".eesd-arrivals")).to_have_text("unpacking smollm2, smollm2-early")
    page.close()


def test_what_is_known_of_the_model_comes_without_a_run(open_page, early, gate, paced):
    page = open_page(f"{early}?view=live", 1280, 800)
    until_ready(page)
    expect(page.locator(".eesd-model-live > b")).to_have_text("embedded model")
    expect(page.locator(".eesd-level")).to_be_hidden()
    page.locator(".eesd-model-live").hover()
    expect(page.locator(".eesd-model-live .eesd-hint")).to_be_visible()
    gate.set()
    expect(page.locator(".eesd-model-live > b")).to_have_text(paced.target.name)
    expect(page.locator(".eesd-where-live > b")).to_have_text("cpu float32")
    expect(page.locator(".eesd-level")).to_contain_text("exact")
    page.close()

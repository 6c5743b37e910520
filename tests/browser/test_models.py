"""A model beside the host's: how far its file is stands on the page, and it can be chosen as soon as it is there."""

import threading

import pytest
from playwright.sync_api import expect
from renderer_page import no_sideways_scroll

from app.arrival import Arrival
from app.engines import Beside
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

"""Follow along: a phone shows what the presenter shows, answers what the presenter asks, and may look around when the run is over."""

import time

import pytest
from app_page import run_long, stop
from playwright.sync_api import expect


@pytest.fixture
def lecture(visit, open_page):
    """lecture(presenter's size and query, phone's size) -> both pages, the phone in the room."""

    def lecture(width: int = 1280, query: str = "?paused=1", scheme: str = "light"):
        presenter = visit(width, 800, query)
        presenter.get_by_role("button", name="Follow along").click()
        link = presenter.locator(".r-link")
        expect(link).to_contain_text("room?code=")
        phone = open_page(link.get_attribute("href"), 390, 800, color_scheme=scheme, reduced_motion="reduce")
        expect(presenter.locator(".r-line")).to_have_text("1 phone in the room")
        return presenter, phone

    return lecture


def until(phone, condition: str, seconds: float = 60.0) -> None:
    """wait_for_function would evaluate a string on the page, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not phone.evaluate(condition):
        assert time.monotonic() < end, condition
        phone.wait_for_timeout(50)


def same_place(presenter, phone) -> None:
    at = presenter.evaluate("EESD.page.view.player.timeline.cursor")
    until(phone, f"EESD.view.player.timeline.cursor === {at}")


def test_a_phone_is_where_the_presenter_is(lecture):
    presenter, phone = lecture()
    same_place(presenter, phone)
    for key in ("ArrowRight", "x", "."):
        presenter.keyboard.press(key)
        same_place(presenter, phone)
    texts = [page.evaluate(f"EESD.{where}view.state.texts") for page, where in ((presenter, "page."), (phone, ""))]
    assert texts[0] == texts[1] and texts[0]["eesd"]
    assert phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    phone.keyboard.press("r")  # the whole run is there: the phone may look around
    expect(phone.locator(".r-line")).to_have_text("You are looking around on your own.")
    phone.get_by_role("button", name="Back to the presenter").click()
    same_place(presenter, phone)
    presenter.get_by_role("button", name="Close the room").click()
    expect(phone.locator(".r-line")).to_have_text("The room is closed.")
    expect(presenter.locator(".r-panel")).to_be_hidden()


def test_the_room_predicts_and_is_told(lecture):
    presenter, phone = lecture(scheme="dark")
    presenter.get_by_role("button", name="Ask: how many?").click()
    phone.get_by_role("button", name="2", exact=True).click()
    expect(presenter.locator(".r-count").nth(2)).to_have_text("1")
    assert presenter.evaluate("EESD.page.view.run.lanes.eesd.round.outcome") is None, "the round to come is not seen"
    presenter.get_by_role("button", name="Show the answer").click()
    accepted = presenter.evaluate("EESD.page.view.run.lanes.eesd.round.outcome.accepted")
    for page in (presenter, phone):
        expect(page.locator(".r-true .r-name")).to_have_text("6 or more" if accepted >= 6 else str(accepted))
    expect(phone.locator(".r-score")).to_contain_text("right" if accepted == 2 else "wrong")
    expect(presenter.locator(".r-score")).to_contain_text(f"the room {int(accepted == 2)} of 1")
    presenter.get_by_role("button", name="Ask: accepted?").click()
    expect(phone.get_by_role("button", name="yes")).to_be_visible()


def test_the_code_is_shown_large_to_a_hall(lecture):
    presenter, _ = lecture()
    presenter.keyboard.press("f")
    assert presenter.locator(".r-link").evaluate("link => link.getClientRects().length") == 1  # not broken into pieces
    presenter.locator(".r-picture").click()
    large = presenter.locator(".r-large img")
    expect(large).to_be_visible()
    assert large.bounding_box()["width"] > 400 and presenter.locator(".r-large").bounding_box()["height"] <= 800
    presenter.keyboard.press("Escape")
    expect(large).to_be_hidden()
    assert presenter.evaluate("EESD.page.view.presenting")


def test_a_live_run_is_followed_and_cannot_be_moved(lecture, slowly):
    presenter, phone = lecture(query="?view=live")
    run_long(presenter)
    until(phone, "EESD.view.run.lanes.eesd.verified > 2")
    phone.keyboard.press("r")
    assert phone.evaluate("EESD.view.player.live") and phone.locator(".e-scrub").evaluate("bar => bar.inert")
    stop(presenter)
    until(phone, "EESD.view.root.dataset.phase === 'cancelled'")
    expect(phone.locator(".e-scrub")).not_to_have_attribute("inert", "")


def test_a_room_that_is_not_there_says_so(visit, open_page, app):
    page = open_page(f"{app[1]}gradio_api/eesd/room?code=<b>no</b>", 390, 800)
    expect(page.locator(".r-line")).to_contain_text("there is no such room")
    expect(page.locator(".s-mode")).to_have_text("ROOM <B>NO</B>")

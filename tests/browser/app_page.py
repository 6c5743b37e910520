"""The app with a tiny random model behind it, and what tests do on its page."""

import threading
import time
from contextlib import contextmanager

from playwright.sync_api import expect

from eesd_core.engine import Engine
from eesd_core.events import TokensCommitted

REST = 0.03  # seconds behind every round
LONG = 512  # tokens: with rests (`slowly`) a run of 20 seconds, to be stopped


class PacedEngine(Engine):
    """An engine that rests after every round, on nobody's clock, so that a run lasts long enough to be stopped; or waits for `go`."""

    rest = 0.0

    def __init__(self, *args):
        super().__init__(*args)
        self.go = threading.Event()
        self.go.set()

    def run(self, *args, **options):
        for record in super().run(*args, **options):
            yield record
            if isinstance(record.event, TokensCommitted):
                time.sleep(self.rest)
                assert self.go.wait(300), "a test never let the engine go on"


STILL = """new Promise((still) => {
    let height, since;
    const look = (now) => {
        const next = document.documentElement.scrollHeight;
        if (next !== height) [height, since] = [next, now];
        if (now - since > 250) still(true);
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})"""


def until_ready(page) -> None:
    """The form and the view are as the address asks, all panels are there, and nothing moves them any more. Gradio mounts its components
    one after the other: a button that moves between mouse down and mouse up is not clicked."""
    page.wait_for_function("['stop', 'run', 'reset', 'examples'].every((id) => document.getElementById(id)) && window.EESD?.page?.ready")
    page.wait_for_function("EESD.page.takeAway")
    until_still(page)


def until_still(page) -> None:
    page.evaluate(STILL)


def until_free(device, seconds: float = 120.0) -> None:
    began = time.monotonic()
    while device.waiting():
        assert time.monotonic() - began < seconds, "the device is still held"
        time.sleep(0.005)


def settings(page, **values) -> None:
    """Open the settings and fill them in. Names are the elements' ids."""
    if not page.locator("#seed").is_visible():
        page.locator("#settings .label-wrap").click()
        page.locator("#seed").wait_for()
    for name, value in values.items():
        if name == "controller":
            page.locator("#controller").get_by_label(value).check()
        else:
            page.locator(f"#{name.replace('_', '-')} :is(input, textarea)").fill(value)


IS_DRAWN = "EESD.page.view.root.dataset.phase === EESD.page.view.run.phase"  # what the page says is not of the run before
FIRST_LINE = "EESD.page.view.stream.consumed.split('\\n', 1)[0]"  # names the run that is on the page


def run(page, prompt: str | None = None) -> None:
    """Press Run, and wait until the new run is on the page."""
    if prompt is not None:
        page.locator("#prompt textarea").fill(prompt)
    with a_new_run(page):
        page.locator("#run").click()


@contextmanager
def a_new_run(page):
    """Wait until what is done inside has put a new run on the page: the recorded one that it opens with runs too."""
    before = page.evaluate(FIRST_LINE)
    yield
    page.wait_for_function(f"before => ![before, ''].includes({FIRST_LINE}) && {IS_DRAWN}", arg=before)


def run_long(page) -> None:
    """Begin a run that must be stopped."""
    settings(page, new_tokens=str(LONG))
    run(page)
    reach(page, "running")


def reach(page, phase: str) -> None:
    expect(page.locator(".eesd")).to_have_attribute("data-phase", phase)


def state(page) -> dict:
    return page.evaluate("EESD.page.view.state")


def alert(page):
    return page.locator(".eesd [role=alert]")


def stop(page) -> None:
    """Press Stop, and wait until the page says so. A stop that is too slow to be one is `python -m tools.measure --page`'s to find."""
    page.evaluate("document.getElementById('stop').click()")
    reach(page, "cancelled")

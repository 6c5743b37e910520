"""A system Chromium for the tests of the page. Without one they are skipped, unless EESD_FORBID_SKIPS=1 forbids it."""

import gzip
import os
import shutil
from pathlib import Path

import pytest
import tiny_model
import torch
from app_page import REST, PacedEngine, until_free, until_ready
from playwright.sync_api import expect, sync_playwright
from renderer_page import write_page

from app import routes
from app.form_values import Limits
from app.page import launch
from app.runs import Visits
from eesd_core.loading import load_engine

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WAIT = 120_000  # milliseconds, on a busy machine; nothing that comes waits for it
expect.set_options(timeout=WAIT)
HINT = "needs Chromium: install the package `chromium` or set EESD_CHROMIUM to its executable"
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")  # the first opens a page in a third of the others' time


@pytest.fixture(scope="session")
def browser():
    executable = os.environ.get("EESD_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not executable or not Path(executable).exists():
        (pytest.fail if os.environ.get("EESD_FORBID_SKIPS") == "1" else pytest.skip)(HINT)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def new_context(browser):
    """new_context(**options) -> a browser context, closed behind the test."""
    contexts = []

    def new(**options):
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(WAIT)
        return contexts[-1]

    yield new
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(new_context):
    """open_page(url, width, height, **context options) -> page; `script` runs before the page's. Errors on its console fail the test."""
    errors = []

    def open_(url: str, width: int = 1280, height: int = 800, script: str = "", **options):
        page = new_context(viewport={"width": width, "height": height}, **options).new_page()
        page.add_init_script(script)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(url)
        return page

    yield open_
    assert not errors, errors


@pytest.fixture
def url(tmp_path) -> str:
    """A bare page with the renderer."""
    return write_page(tmp_path)


@pytest.fixture
def page(open_page, url):
    return open_page(url)


# ---- the app, with a tiny random model behind it ----


@pytest.fixture(scope="session")
def paced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model.save(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more only wait for each other in a model this small, above all on a busy machine
    loaded = load_engine(str(folder), None, "cpu", "float32")
    yield PacedEngine(loaded.target, loaded.exit_layer, loaded.level)
    torch.set_num_threads(threads)


@pytest.fixture
def slowly(paced):
    paced.rest = REST
    yield
    paced.rest = 0.0


@pytest.fixture
def held(paced):
    """Runs wait after their first round until the test lets them go on, however slow the machine: held.set()."""
    paced.go.clear()
    yield paced.go
    paced.go.set()


@pytest.fixture(scope="session")
def app(paced):
    visits = Visits(paced, Limits(runs_a_minute=10_000, waiting_each=100, rooms_a_minute=10_000))
    page = launch(visits, prevent_thread_lock=True, quiet=True)
    yield visits, page.local_url
    page.close()


@pytest.fixture
def without_charts(monkeypatch):
    """plotly.js is empty. Reading it and drawing with it is a third of a page's work; for tests of which it is no part."""
    monkeypatch.setattr(routes, "packed_plotly", lambda: gzip.compress(b""))


@pytest.fixture
def device(app):
    """Free before and after every test."""
    visits, _ = app
    until_free(visits.device)
    yield visits.device
    until_free(visits.device)


@pytest.fixture
def visit(open_page, app, device):
    """visit(width, height, query) -> a page that is ready."""

    def visit(width: int = 1280, height: int = 800, query: str = "?__theme=light", **options):
        page = open_page(app[1] + query, width, height, **options)
        until_ready(page)
        return page

    return visit

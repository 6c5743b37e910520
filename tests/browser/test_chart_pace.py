"""A frame draws one chart or everything else, and charts take a quarter of the time at most. Clock and timers are the test's own."""

# Two charts, whose milliseconds a test sets, and a third that has nothing to do. It all happens within one task of the page, so nobody else
# sees the clock.
BENCH = """script => {
    const [clock, timer] = [performance.now, window.setTimeout];
    const bench = { now: 1000, timers: [], drawn: [], cost: { a: 10, b: 10 }, frame: false, dragged: false };
    performance.now = () => bench.now;
    window.setTimeout = (work, wait) => bench.timers.push({ work, at: bench.now + wait });
    const work = (name) => () => {
        bench.drawn.push(name);
        bench.now += bench.cost[name];
    };
    bench.pace = new EESD.modules['lib/pace.js'].Pace([work('a'), work('b'), () => false], () => bench.frame, () => bench.dragged);
    bench.ring = () => {  // the timer that is due next
        const { work, at } = bench.timers.shift();
        bench.now = Math.max(bench.now, at);
        work();
    };
    try {
        return new Function('bench', script)(bench);
    } finally {
        performance.now = clock;
        window.setTimeout = timer;
    }
}"""


def on_bench(page, script: str):
    return page.evaluate(BENCH, script)


def test_a_turn_draws_one_chart_and_the_next_one_waits(page):
    drawn = on_bench(
        page,
        """const { pace } = bench;
        pace.request();
        const first = [pace.turn(), ...bench.drawn];
        const soon = [pace.turn(), ...bench.drawn];
        bench.now += 39;
        const almost = pace.turn();
        bench.now += 1;
        return { first, soon, almost, then: [pace.turn(), ...bench.drawn], after: (bench.now += 1000, pace.turn()) };""",
    )
    assert drawn["first"] == [True, "a"]
    assert drawn["soon"] == [False, "a"] and not drawn["almost"]
    assert drawn["then"] == [True, "a", "b"]
    assert not drawn["after"]  # c has nothing to do, and nothing waits any more


def test_what_takes_long_waits_three_times_as_long(page):
    assert on_bench(page, "bench.cost.a = 100; bench.pace.request(); bench.pace.turn(); return bench.pace.next - bench.now;") == 300


def test_while_the_playhead_is_dragged_charts_take_a_ninth_of_the_time(page):
    slow = "bench.dragged = true; bench.cost.a = 100;"
    assert on_bench(page, f"{slow} bench.pace.request(); bench.pace.turn(); return bench.pace.next - bench.now;") == 800


# A panel of its own, far below what can be seen, and how often it was drawn: as soon as it was asked for three times, and later.
UNSEEN = """async (away) => {
    const { el } = EESD.modules['lib/elements.js'], { patient } = EESD.modules['lib/pace.js'];
    const panel = document.body.appendChild(el("div", { style: `position: absolute; top: ${away}px; height: 9px; width: 9px` }));
    let drawn = 0;
    const work = patient(panel, () => { drawn += 1; });
    await new Promise((done) => setTimeout(done, 100)); // the observer has looked
    drawn = 0;
    const answers = [work(), work(), work()];
    const at = drawn;
    await new Promise((done) => setTimeout(done, 600));
    return [answers.map((answer) => answer === false), at, drawn];
}"""


def test_a_panel_out_of_sight_is_drawn_once_when_all_is_quiet(page):
    assert page.evaluate(UNSEEN, 9000) == [[True, True, True], 0, 1]
    assert page.evaluate(UNSEEN, 10) == [[False, False, False], 3, 3]


def test_asked_for_twice_is_drawn_once(page):
    script = "bench.pace.request(); bench.pace.request(); while (bench.timers.length) bench.ring(); return [bench.drawn, bench.now];"
    assert on_bench(page, script) == [["a", "b"], 1100]  # two charts of 10 ms, 40 ms of rest behind each


def test_without_frames_a_timer_draws_and_with_them_it_leaves_the_turn_to_the_frame(page):
    script = "bench.frame = %s; bench.pace.request(); bench.ring(); return [bench.drawn, bench.timers.length];"
    assert on_bench(page, script % "false") == [["a"], 1]
    assert on_bench(page, script % "true") == [[], 0]


def test_a_frame_has_a_chart_or_everything_else(page):
    frames = page.evaluate("""() => {
        const done = [];
        const of = (turn) => {
            const view = Object.create(Object.getPrototypeOf(window.view));
            view.pace = { turn: () => (done.push("chart"), turn) };
            view.draw = () => done.push("rest");
            view.request = () => done.push("again");
            view.frame();
            return done.splice(0);
        };
        return [of(true), of(false)];
    }""")
    assert frames == [["chart", "again"], ["chart", "rest"]]

// Draft lengths and clock: pure functions from the state of the race to Plotly data.
(() => {
  "use strict";
  const { number, words } = window.EESD;
  const MOST_ROUNDS = 48; // columns that stay wide enough to show their pattern
  const MOST_ROWS = 200; // of a table: the latest
  const MOST_SEGMENTS = 90; // per lane; more steps than that are summed in groups

  const rejectedIn = ({ outcome }) => (outcome.accepted < outcome.drafted ? 1 : 0);
  const untestedIn = ({ outcome }) => outcome.drafted - outcome.accepted - rejectedIn({ outcome });
  const verified = (lane) => lane.rounds.filter((round) => round.outcome);

  // Charts over rounds have one axis: the last so many, a column each.
  function roundAxis(rounds, least) {
    const first = rounds.length ? rounds[0].number : 1;
    return { title: words.charts.round, range: [first - 0.6, first + Math.max(least, rounds.length) - 0.4], showgrid: false, nticks: 8, tickformat: "d" };
  }

  // How a chart over rounds is linked with the text.
  const linkOf = (rounds) => ({
    spanOf: (number) => (number >= rounds[0]?.number && number <= rounds.at(-1).number ? [number - 0.5, number + 0.5] : null),
    roundAt: (x) => (Math.round(x) >= rounds[0]?.number && Math.round(x) <= rounds.at(-1).number ? Math.round(x) : null),
  });

  const pattern = (color, shape, background) => ({
    color: background, line: { color, width: 1 }, pattern: { shape, fgcolor: color, bgcolor: background, size: 5, solidity: 0.35 },
  });

  // ---- draft lengths ----

  const part = (kind, rounds, values, marker) => ({
    type: "bar", name: kind, x: rounds.map((round) => round.number), y: rounds.map(values), marker, cliponaxis: false,
    hovertemplate: `${words.charts.someInRound(words.states[kind])}<extra></extra>`,
  });

  const dots = (kind, rounds, marker) => {
    const own = rounds.filter((round) => round.outcome.next_kind === kind);
    return {
      type: "scatter", mode: "markers", name: kind, x: own.map((round) => round.number), cliponaxis: false,
      y: own.map((round) => round.outcome.drafted + 0.6), marker, hovertemplate: `${words.charts.inRound(words.states[kind])}<extra></extra>`,
    };
  };

  // The best length in hindsight is that of the right guesses. Where all were right it may have been more: an arrow upwards.
  const bestOf = (round) => (rejectedIn(round) ? String(round.outcome.accepted) : words.charts.lengths.atLeast(round.outcome.accepted));

  const hindsight = (rounds, theme) => ({
    type: "scatter", mode: "lines+markers", name: "best", x: rounds.map((round) => round.number), y: rounds.map((round) => round.outcome.accepted),
    text: rounds.map(bestOf), line: { color: theme("ink"), width: 1.5, shape: "hvh" }, cliponaxis: false,
    marker: { symbol: "triangle-up", size: 7, color: theme("ink"), opacity: rounds.map((round) => (rejectedIn(round) ? 0 : 1)) },
    hovertemplate: `${words.charts.lengths.bestHover}<extra></extra>`,
  });

  function lengths(state, theme) {
    const lane = state.lanes.eesd;
    const done = verified(lane);
    const rounds = done.slice(-MOST_ROUNDS);
    const most = Math.max(4, ...lane.rounds.map((round) => round.outcome?.drafted ?? 0));
    return {
      data: [
        part("accepted", rounds, (round) => round.outcome.accepted, { color: theme("accepted") }),
        part("rejected", rounds, rejectedIn, pattern(theme("rejected"), "x", theme("panel"))),
        part("untested", rounds, untestedIn, pattern(theme("untested"), "/", theme("panel"))),
        hindsight(rounds, theme),
        dots("correction", rounds, { color: theme("correction"), symbol: "diamond", size: 6 }),
        dots("bonus", rounds, { color: theme("bonus"), symbol: "circle", size: 6, line: { color: theme("bonus-ink"), width: 1 } }),
      ],
      layout: { barmode: "stack", bargap: 0.25, margin: { l: 34, r: 6, t: 4, b: 32 } },
      xaxis: roundAxis(rounds, 24),
      yaxis: { title: words.charts.lengths.axis, range: [0, most + 1.2], nticks: 5, tickformat: "d" },
      label: words.charts.lengths.label(lane),
      table: () => ({ columns: words.charts.lengths.columns, rows: done.slice(-MOST_ROWS).map(lengthRow) }),
      ...linkOf(rounds),
    };
  }

  const lengthRow = (round) => {
    const { drafted, accepted, next_kind: next } = round.outcome;
    return [round.number, drafted, accepted, rejectedIn(round), untestedIn(round), words.states[next] ?? "–", bestOf(round)];
  };

  // ---- clock ----

  // Times of consecutive rounds, summed in groups so that long runs stay quick to draw.
  function segments(lane) {
    const rounds = lane.rounds.filter((round) => round.end > round.start);
    const size = Math.ceil(rounds.length / MOST_SEGMENTS) || 1;
    const groups = [];
    for (let i = 0; i < rounds.length; i += size) groups.push(segment(rounds.slice(i, i + size)));
    return groups;
  }

  // A round that is not verified yet has spent its time drafting.
  const draftingOf = ({ outcome, start, end }) => (outcome ? outcome.draft_seconds : end - start);

  function segment(rounds) {
    const sum = (times) => rounds.reduce((total, round) => total + times(round), 0);
    const [first, last] = [rounds[0], rounds[rounds.length - 1]];
    const draft = sum(draftingOf);
    const verify = sum(({ outcome }) => outcome?.verify_seconds ?? 0);
    const overhead = Math.max(0, last.end - first.start - draft - verify);
    return { name: words.charts.clock.rounds(first.number, last.number), start: first.start, draft, verify, overhead };
  }

  const KINDS = [
    ["draft", () => 0],
    ["verify", (part) => part.draft],
    ["overhead", (part) => part.draft + part.verify],
  ];
  const ROWS = ["vanilla", "eesd"]; // from the bottom

  function bars(kind, offset, parts, marker) {
    const own = parts.filter(({ part: { [kind]: length } }) => length > 0);
    return {
      type: "bar", orientation: "h", name: kind, marker,
      y: own.map(({ row }) => row), x: own.map(({ part }) => part[kind]), base: own.map(({ part }) => part.start + offset(part)),
      customdata: own.map(({ part }) => part.name), hovertemplate: `%{customdata}: ${words.charts.clock.kinds[kind]} %{x:.4f} s<extra></extra>`,
    };
  }

  // Grows in steps, so that the axis stands still most of the time.
  function roomFor(value) {
    if (!(value > 0)) return 1;
    const unit = 10 ** Math.floor(Math.log10(value));
    return unit * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * unit >= value * 0.999);
  }

  // The seconds that the clock shows: of a run that is over exactly its own, so that the slider lies on its axis.
  const axisOf = ({ duration, over }) => (over && duration > 0 ? duration : roomFor(duration));

  function clock(state, theme, width, timeline) {
    const name = (lane) => words.race.lanes[lane];
    const parts = ROWS.flatMap((lane) => segments(state.lanes[lane]).map((part) => ({ row: name(lane), part })));
    const edge = { color: theme("panel"), width: 0.5 };
    const markers = {
      draft: { ...pattern(theme("draft"), "/", theme("draft-fill")), line: edge },
      verify: { color: theme("verify"), line: edge },
      overhead: { ...pattern(theme("overhead"), ".", theme("panel")), line: { color: theme("overhead"), width: 0.5 } },
    };
    const started = ROWS.filter((lane) => state.lanes[lane].started);
    const { rounds } = state.lanes.eesd;
    return {
      data: KINDS.map(([kind, offset]) => bars(kind, offset, parts, markers[kind])),
      layout: {
        barmode: "overlay", bargap: 0.35, margin: { l: 60, r: 70, t: 2, b: 34 },
        annotations: started.map((lane) => reading(state.lanes[lane], name(lane), theme)),
      },
      xaxis: { title: words.charts.clock.axis, range: [0, axisOf(timeline)], nticks: width < 600 ? 5 : 12 },
      yaxis: { type: "category", categoryarray: ROWS.map(name), range: [-0.5, 1.5], tickfont: { color: theme("ink"), size: 12 * theme.scale }, ticks: "outside", ticklen: 6, tickcolor: "rgba(0,0,0,0)", showgrid: false },
      label: words.charts.clock.label(started.map((lane) => words.charts.clock.reading(name(lane), state.lanes[lane].clock))),
      table: () => ({ columns: words.charts.clock.columns, rows: parts.map(clockRow) }),
      spanOf: (number) => (rounds[number - 1] ? [rounds[number - 1].start, rounds[number - 1].end] : null),
      roundAt: (time, height) => (height < 0.35 ? rounds.findLast((round) => round.start <= time && time < round.end)?.number : writerAt(state.lanes, time)) ?? null,
    };
  }

  // The round of EESD's that wrote what vanilla was writing at this time.
  function writerAt({ eesd, vanilla }, time) {
    const step = vanilla.rounds.findLast((round) => round.start <= time && time < round.end);
    return step && eesd.rounds.findLast((round) => round.position <= step.position)?.number;
  }

  const clockRow = ({ row, part }) => [row, part.name, ...[part.start, part.draft, part.verify, part.overhead].map((time) => number(1000 * time, 1))];

  const reading = (lane, row, theme) => ({
    x: lane.clock, y: row, xanchor: "left", xshift: 4, showarrow: false,
    text: `${number(lane.clock)} s${lane.end === "finished" ? " ✓" : ""}`, font: { color: theme("ink"), size: 12 * theme.scale },
  });

  window.EESD.figures = { lengths, clock, axisOf, verified, rejectedIn, roundAxis, linkOf, pattern, MOST_ROWS };
})();

// What the charts say: pure functions from the state of the race to Plotly data.
(() => {
  "use strict";
  const { number, plural } = window.EESD;
  const MOST_ROUNDS = 48; // columns that stay wide enough to show their pattern
  const MOST_SEGMENTS = 90; // per lane; more steps than that are summed in groups

  // ---- draft lengths ----

  const part = (name, rounds, values, marker) => ({
    type: "bar", name, x: rounds.map((round) => round.number), y: rounds.map(values), marker, cliponaxis: false,
    hovertemplate: `round %{x}: %{y} ${name}<extra></extra>`,
  });

  const pattern = (color, shape, background) => ({
    color: background, line: { color, width: 1 }, pattern: { shape, fgcolor: color, bgcolor: background, size: 5, solidity: 0.35 },
  });

  const dots = (kind, rounds, marker) => {
    const own = rounds.filter((round) => round.outcome.next_kind === kind);
    return {
      type: "scatter", mode: "markers", name: kind, x: own.map((round) => round.number), cliponaxis: false,
      y: own.map((round) => round.outcome.drafted + 0.6), marker, hovertemplate: `round %{x}: ${kind}<extra></extra>`,
    };
  };

  const rejectedIn = ({ outcome }) => (outcome.accepted < outcome.drafted ? 1 : 0);
  const untestedIn = ({ outcome }) => outcome.drafted - outcome.accepted - rejectedIn({ outcome });

  // A band behind the round that is looked into.
  const band = (number, theme) => ({
    type: "rect", xref: "x", yref: "paper", layer: "below", x0: number - 0.5, x1: number + 0.5, y0: 0, y1: 1,
    fillcolor: theme("line"), line: { width: 0 },
  });

  function lengths(state, theme, width, timeline, selected) {
    const lane = state.lanes.eesd;
    const rounds = lane.rounds.filter((round) => round.outcome).slice(-MOST_ROUNDS);
    const first = rounds.length ? rounds[0].number : 0;
    const most = Math.max(4, ...lane.rounds.map((round) => round.outcome?.drafted ?? 0));
    return {
      data: [
        part("accepted", rounds, (round) => round.outcome.accepted, { color: theme("accepted") }),
        part("rejected", rounds, rejectedIn, pattern(theme("rejected"), "x", theme("panel"))),
        part("untested", rounds, untestedIn, pattern(theme("untested"), "/", theme("panel"))),
        dots("correction", rounds, { color: theme("correction"), symbol: "diamond", size: 6 }),
        dots("bonus", rounds, { color: theme("bonus"), symbol: "circle", size: 6, line: { color: theme("bonus-ink"), width: 1 } }),
      ],
      layout: { barmode: "stack", bargap: 0.25, margin: { l: 34, r: 6, t: 4, b: 32 }, shapes: selected ? [band(selected.number, theme)] : [] },
      xaxis: { title: "round", range: [first - 0.6, first + Math.max(24, rounds.length) - 0.4], showgrid: false, nticks: 8, tickformat: "d" },
      yaxis: { title: "drafts", range: [0, most + 1.2], nticks: 5, tickformat: "d" },
      label: `Draft lengths: ${plural(lane.verified, "round")}, ${plural(lane.drafted, "draft")}, ${lane.accepted} accepted.`,
    };
  }

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
    const name = rounds.length === 1 ? `round ${first.number}` : `rounds ${first.number} to ${last.number}`;
    return { name, start: first.start, draft, verify, overhead };
  }

  const KINDS = [
    ["draft", () => 0],
    ["verify", (part) => part.draft],
    ["overhead", (part) => part.draft + part.verify],
  ];
  const ROWS = [["vanilla", "Vanilla"], ["eesd", "EESD"]];

  function bars(kind, offset, parts, marker) {
    const own = parts.filter(({ part: { [kind]: length } }) => length > 0);
    return {
      type: "bar", orientation: "h", name: kind, marker,
      y: own.map(({ row }) => row), x: own.map(({ part }) => part[kind]), base: own.map(({ part }) => part.start + offset(part)),
      customdata: own.map(({ part }) => part.name), hovertemplate: `%{customdata}: ${kind} %{x:.4f} s<extra></extra>`,
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
    const parts = ROWS.flatMap(([name, row]) => segments(state.lanes[name]).map((part) => ({ row, part })));
    const edge = { color: theme("panel"), width: 0.5 };
    const markers = {
      draft: { ...pattern(theme("draft"), "/", theme("draft-fill")), line: edge },
      verify: { color: theme("verify"), line: edge },
      overhead: { ...pattern(theme("overhead"), ".", theme("panel")), line: { color: theme("overhead"), width: 0.5 } },
    };
    const started = ROWS.filter(([name]) => state.lanes[name].started);
    return {
      data: KINDS.map(([kind, offset]) => bars(kind, offset, parts, markers[kind])),
      layout: {
        barmode: "overlay", bargap: 0.35, margin: { l: 60, r: 70, t: 2, b: 34 },
        annotations: started.map(([name, row]) => reading(state.lanes[name], row, theme)),
      },
      xaxis: { title: "seconds of own compute clock", range: [0, axisOf(timeline)], nticks: width < 600 ? 5 : 12 },
      yaxis: { type: "category", categoryarray: ROWS.map(([, row]) => row), range: [-0.5, 1.5], tickfont: { color: theme("ink"), size: 12 }, ticks: "outside", ticklen: 6, tickcolor: "rgba(0,0,0,0)", showgrid: false },
      label: `Clock: ${started.map(([name, row]) => `${row} ${number(state.lanes[name].clock)} seconds`).join(", ") || "no run yet"}.`,
    };
  }

  const reading = (lane, row, theme) => ({
    x: lane.clock, y: row, xanchor: "left", xshift: 4, showarrow: false,
    text: `${number(lane.clock)} s${lane.end === "finished" ? " ✓" : ""}`, font: { color: theme("ink"), size: 12 },
  });

  window.EESD.figures = { lengths, clock, axisOf };
})();

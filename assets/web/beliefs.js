// What the controller has learned: its belief over the rounds with the verdicts it came from, acceptance by position, and, where it keeps
// several posteriors, all of them side by side. Pure functions from the state of the race to Plotly data.
(() => {
  "use strict";
  const { number, isBeta, meanOf, betaIntervals, words, figures } = window.EESD;
  const { disturbanceOf } = window.EESD;
  const { verified, rejectedIn, roundAxis, linkOf, MOST_ROWS } = figures;
  const MOST_ROUNDS = 120; // more would not part the ticks of the barcode
  const RIGHT_AT = -0.12; // rows of the barcode
  const WRONG_AT = -0.26;

  // ---- belief over rounds ----

  // Between two of the four borders: a closed outline.
  const ribbon = (rounds, low, high, fill) => {
    const borders = rounds.map((round) => betaIntervals(round.posterior));
    const x = rounds.map((round) => round.number);
    return {
      type: "scatter", mode: "lines", x: [...x, ...x.toReversed()], y: [...borders.map((own) => own[high]), ...borders.map((own) => own[low]).toReversed()],
      fill: "toself", fillcolor: fill, line: { width: 0 }, hoverinfo: "skip",
    };
  };

  const means = (rounds, theme) => ({
    type: "scatter", mode: "lines", x: rounds.map((round) => round.number), y: rounds.map((round) => meanOf(round.posterior)),
    line: { color: theme("belief"), width: 2 }, hovertemplate: `${words.charts.belief.hover}<extra></extra>`,
  });

  // The first draw of a round: rounds differ in how many they have.
  const draws = (rounds, theme) => {
    const own = rounds.filter((round) => Number.isFinite(round.decisions[0]?.terms.theta));
    return {
      type: "scatter", mode: "markers", x: own.map((round) => round.number), y: own.map((round) => round.decisions[0].terms.theta),
      marker: { symbol: "circle-open", size: 5, color: theme("ink"), opacity: 0.6 }, hovertemplate: `${words.charts.belief.drew}<extra></extra>`,
    };
  };

  // Successes and failures in the order of the drafts, each in its round's column, each kind in a row and with a shape of its own.
  function ticks(kind, rounds, at, marker) {
    const x = rounds.flatMap((round) => {
      const { accepted } = round.outcome;
      const tested = accepted + rejectedIn(round);
      const place = (i) => round.number - 0.5 + (i + 0.5) / tested;
      if (kind === "accepted") return Array.from({ length: accepted }, (_, i) => place(i));
      return tested > accepted ? [place(accepted)] : [];
    });
    return { type: "scatter", mode: "markers", x, y: x.map(() => at), marker, hoverinfo: "skip", cliponaxis: false };
  }

  function belief(state, theme) {
    const lane = state.lanes.eesd;
    const done = verified(lane);
    const rounds = done.slice(-MOST_ROUNDS);
    const known = rounds.filter((round) => isBeta(round.posterior));
    const now = known.at(-1)?.learned ?? known.at(-1)?.posterior;
    const right = lane.accepted;
    const wrong = done.filter(rejectedIn).length;
    const bars = [
      ticks("accepted", rounds, RIGHT_AT, { symbol: "line-ns", size: 9, line: { color: theme("accepted"), width: 2 } }),
      ticks("rejected", rounds, WRONG_AT, { symbol: "x-thin", size: 6, line: { color: theme("rejected"), width: 2 } }),
    ];
    const curves = known.length ? [ribbon(known, 0, 3, theme("belief-fill")), ribbon(known, 1, 2, theme("belief-fill")), means(known, theme), draws(known, theme)] : [];
    const none = { xref: "paper", yref: "paper", x: 0.5, y: 0.7, showarrow: false, text: words.charts.belief.none, font: { color: theme("muted"), size: 12 * theme.scale } };
    const disturbed = disturbance(lane, rounds, theme);
    return {
      data: [...curves, ...bars],
      layout: { margin: { l: 40, r: 6, t: 6, b: 32 }, annotations: [...(rounds.length && !known.length ? [none] : []), ...disturbed.annotations], shapes: disturbed.shapes },
      xaxis: roundAxis(rounds, 24),
      yaxis: { title: words.charts.belief.axis, range: [-0.36, 1.02], tickvals: [0, 0.25, 0.5, 0.75, 1], tickformat: ".2g" },
      label: words.charts.belief.label(done.length, right, wrong, now && isBeta(now) ? meanOf(now) : NaN),
      table: () => ({ columns: words.charts.belief.columns, rows: done.slice(-MOST_ROWS).map(beliefRow) }),
      ...linkOf(rounds),
    };
  }

  // A line where drafts began to be made worse on purpose.
  function disturbance(lane, rounds, theme) {
    const round = disturbanceOf(lane)?.round;
    if (!round || round < rounds[0].number) return { annotations: [], shapes: [] };
    const x = round - 0.5;
    const line = { type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line: { color: theme("rejected"), width: 1.5, dash: "dash" } };
    const text = { x, yref: "paper", y: 1, yanchor: "top", xanchor: "left", showarrow: false, text: words.charts.belief.disturbed, font: { color: theme("muted"), size: 11 * theme.scale } };
    return { annotations: [text], shapes: [line] };
  }

  function beliefRow(round) {
    const { posterior, outcome } = round;
    const own = isBeta(posterior) ? [posterior.alpha, posterior.beta, meanOf(posterior), ...ends(posterior)].map((value) => number(value)) : Array(5).fill("–");
    return [round.number, ...own, outcome.accepted, rejectedIn(round)];
  }

  const ends = (posterior) => [betaIntervals(posterior)[0], betaIntervals(posterior)[3]];

  // ---- acceptance by position ----

  // Of the rounds that tested a place, the share that accepted it. The bar of uncertainty is that of a Beta belief from 1, 1.
  function countPositions(lane) {
    const places = [];
    for (const round of verified(lane)) {
      const { accepted } = round.outcome;
      for (let i = 0; i < accepted + rejectedIn(round); i += 1) {
        places[i] ??= { tested: 0, accepted: 0 };
        places[i].tested += 1;
        if (i < accepted) places[i].accepted += 1;
      }
    }
    return places.map((place) => ({ ...place, share: place.accepted / place.tested, ends: ends({ alpha: place.accepted + 1, beta: place.tested - place.accepted + 1 }) }));
  }

  const interval = (theme, values, borders, width, thickness) => ({
    type: "data", symmetric: false, color: theme("ink"), width, thickness,
    array: values.map((value, i) => Math.max(0, borders[i][1] - value)), arrayminus: values.map((value, i) => Math.max(0, value - borders[i][0])),
  });

  function positions(state, theme) {
    const places = countPositions(state.lanes.eesd);
    const shares = places.map(({ share }) => share);
    return {
      data: [{
        type: "bar", x: places.map((_, i) => i + 1), y: shares, marker: { color: theme("accepted") }, error_y: interval(theme, shares, places.map((own) => own.ends), 4, 1.2),
        text: places.map(({ accepted, tested }) => words.charts.positions.hover(accepted, tested)), textposition: "none", hovertemplate: "%{text}<extra></extra>",
      }],
      layout: { bargap: 0.35, margin: { l: 40, r: 6, t: 6, b: 32 } },
      xaxis: { title: words.charts.positions.axis, range: [0.4, Math.max(8, places.length) + 0.6], showgrid: false, dtick: 1, tickformat: "d" },
      yaxis: { title: words.charts.positions.share, range: [0, 1.02], tickvals: [0, 0.25, 0.5, 0.75, 1], tickformat: ".2g" },
      label: words.charts.positions.label(shares),
      table: () => ({
        columns: words.charts.positions.columns,
        rows: places.map(({ tested, accepted, share, ends: [low, high] }, i) => [i + 1, tested, accepted, number(share), number(low), number(high)]),
      }),
    };
  }

  // ---- beliefs by context ----

  const armsOf = (lane) => {
    const round = lane.round;
    return (round?.learned ?? round?.posterior)?.arms ?? [];
  };

  // What is binned and the bin's borders, of an arm whose label is "confidence 0.3 to 0.4" or "certainty 0.3 to 0.4".
  function binOf({ label }) {
    const [, kind, low, high] = /^(confidence|certainty) (\d\.\d) to (\d\.\d)$/.exec(label) ?? [];
    return kind && { kind, low: Number(low), high: Number(high) };
  }

  const byConfidence = (arms) => arms.length > 0 && arms.every((arm) => binOf(arm)?.kind === "confidence");

  function contexts(state, theme) {
    const arms = armsOf(state.lanes.eesd);
    const bins = arms.map(binOf);
    const binned = bins.every(Boolean);
    const x = arms.map((_, i) => i);
    const values = arms.map(meanOf);
    const borders = arms.map(betaIntervals);
    const diagonal = {
      type: "scatter", mode: "lines", x, y: byConfidence(arms) ? bins.map(({ low, high }) => (low + high) / 2) : [], line: { color: theme("muted"), width: 1.5, dash: "dot" }, hoverinfo: "skip",
    };
    const dot = {
      type: "scatter", mode: "markers", x, y: values, text: arms.map(({ label }) => words.charts.contexts.arm(label)), marker: { symbol: "diamond", size: 8, color: theme("belief") },
      error_y: interval(theme, values, borders.map((own) => [own[0], own[3]]), 5, 1.2), hovertemplate: `${words.charts.contexts.hover}<extra></extra>`,
    };
    const thick = { ...dot, hoverinfo: "skip", hovertemplate: undefined, marker: { size: 0.1 }, error_y: { ...interval(theme, values, borders.map((own) => [own[1], own[2]]), 0, 5), color: theme("belief") } };
    return {
      data: [diagonal, thick, dot],
      layout: { margin: { l: 40, r: 10, t: 6, b: 32 } },
      xaxis: { title: words.charts.contexts.axes[bins[0]?.kind] ?? "", range: [-0.6, arms.length - 0.4], showgrid: false, tickvals: x, ticktext: arms.map(({ label }, i) => (binned ? String(bins[i].low + 0.05).slice(0, 4) : words.charts.contexts.arm(label))) },
      yaxis: { title: words.charts.contexts.share, range: [0, 1.02], tickvals: [0, 0.25, 0.5, 0.75, 1], tickformat: ".2g" },
      label: words.charts.contexts.label(arms),
      table: () => ({
        columns: words.charts.contexts.columns,
        rows: arms.map((arm) => [words.charts.contexts.arm(arm.label), ...[arm.alpha, arm.beta, meanOf(arm), ...ends(arm)].map((value) => number(value))]),
      }),
    };
  }

  Object.assign(figures, { belief, positions, contexts, armsOf, byConfidence });
})();

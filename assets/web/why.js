// Why this draft length: the controller's belief, the draws made from it, and every decision in words.
(() => {
  "use strict";
  const { el, number, plural, setText } = window.EESD;
  const OLD_DRAWS = 20;
  const REASONS = {
    controller: "the controller said stop",
    limit: "the most drafts a round may have",
    length: "the text has its full length",
    eos: "the draft ended the text",
    none: "nothing drafted",
  };

  // The density relative to its peak. Gamma functions cancel out, so nothing overflows however sure the belief is.
  function betaCurve({ alpha, beta }) {
    const mean = alpha / (alpha + beta);
    const spread = Math.sqrt((mean * (1 - mean)) / (alpha + beta + 1));
    const x = [];
    for (let i = 0; i <= 120; i += 1) x.push(0.0005 + 0.999 * (i / 120));
    for (let i = -40; i <= 40; i += 1) x.push(mean + (i / 10) * spread); // a narrow peak falls between evenly spaced points
    const inside = x.filter((value) => value > 0 && value < 1).sort((a, b) => a - b);
    const log = (value) => (alpha - 1) * Math.log(value) + (beta - 1) * Math.log1p(-value);
    const peak = Math.max(...inside.map(log));
    return { x: inside, y: inside.map((value) => Math.exp(log(value) - peak)), at: (value) => Math.min(1, Math.exp(log(value) - peak)) };
  }

  const isBeta = (posterior) => posterior && posterior.alpha > 0 && posterior.beta > 0;
  const finished = (lane) => lane.rounds.filter((round) => round.decisions.length);
  const shownRound = (lane) => finished(lane).pop() ?? lane.round;

  const draws = (lane) =>
    finished(lane).slice(-OLD_DRAWS).flatMap((round) => round.decisions.map(({ terms }) => terms.theta)).filter(Number.isFinite);

  function figure(state, theme) {
    const lane = state.lanes.eesd;
    const round = shownRound(lane);
    const axes = {
      layout: { margin: { l: 34, r: 8, t: 6, b: 32 }, annotations: [] },
      xaxis: { title: "theta: chance to go on", range: [0, 1], tickvals: [0, 0.25, 0.5, 0.75, 1] },
      yaxis: { title: "density / peak", range: [-0.16, 1.1], tickvals: [0, 1], showgrid: false },
    };
    if (!isBeta(round?.posterior)) return { ...axes, data: [], label: "The controller's belief: no curve yet." };
    const now = betaCurve(round.posterior);
    const drawn = draws(lane).slice(-OLD_DRAWS);
    const theta = round.decisions.at(-1)?.terms.theta;
    const { alpha, beta } = round.posterior;
    axes.layout.annotations.push(reading(round.posterior, theta, theme));
    return {
      ...axes,
      data: [learned(round, theme), belief(now, theme), ticks(drawn, theme), draw(now, theta, theme)],
      label: `Belief Beta(${number(alpha, 1)}, ${number(beta, 1)}), mean ${number(alpha / (alpha + beta))}; last draw theta ${number(theta)}.`,
    };
  }

  // The numbers stand where the curve is not.
  const reading = ({ alpha, beta }, theta, theme) => {
    const left = alpha >= beta;
    const words = [`Beta(${number(alpha, 1)}, ${number(beta, 1)})`, `mean ${number(alpha / (alpha + beta))}`, `this draw ${number(theta)}`];
    return {
      xref: "paper", yref: "paper", x: left ? 0.02 : 0.98, xanchor: left ? "left" : "right", y: 1, yanchor: "top", align: "left",
      showarrow: false, text: words.join("<br>"), font: { color: theme("muted"), size: 12 },
    };
  };

  const belief = ({ x, y }, theme) => ({
    type: "scatter", mode: "lines", x, y, fill: "tozeroy", fillcolor: theme("belief-fill"), line: { color: theme("belief"), width: 2 }, hoverinfo: "skip",
  });

  const learned = (round, theme) => {
    const { x, y } = isBeta(round.learned) ? betaCurve(round.learned) : { x: [], y: [] };
    return { type: "scatter", mode: "lines", x, y, line: { color: theme("belief"), width: 1.2, dash: "dot" }, hoverinfo: "skip" };
  };

  const ticks = (drawn, theme) => ({
    type: "scatter", mode: "markers", x: drawn, y: drawn.map(() => -0.08), hovertemplate: "drew theta %{x:.2f}<extra></extra>",
    marker: {
      symbol: "line-ns", size: 9, line: { color: theme("ink"), width: 1.5 },
      opacity: drawn.map((_, i) => 0.15 + 0.75 * ((i + 1) / drawn.length)),
    },
  });

  const draw = (curve, theta, theme) => {
    const known = Number.isFinite(theta);
    return {
      type: "scatter", mode: "lines+markers", x: known ? [theta, theta] : [], y: known ? [0, curve.at(theta)] : [],
      line: { color: theme("ink"), width: 1.5 }, hovertemplate: "this draw: theta %{x:.2f}<extra></extra>",
      marker: { color: theme("ink"), size: [0, 9], line: { color: theme("panel"), width: 1.5 } },
    };
  };

  // "theta 0.78, chi 1: go on". Another controller's terms are shown by their own names.
  function inWords({ go, terms }) {
    const names = "theta" in terms ? ["theta", "chi"] : Object.keys(terms);
    const value = (term) => (Number.isInteger(term) || typeof term !== "number" ? String(term) : number(term));
    const said = names.filter((name) => name in terms).map((name) => `${name} ${value(terms[name])}`).join(", ");
    return `${said ? `${said}: ` : ""}${go ? "go on" : "stop"}`;
  }

  function headline(round) {
    if (!round) return "";
    const drafted = plural(round.decisions.length, "draft");
    return `round ${round.number}: ${drafted}${round.reason ? `, ${REASONS[round.reason] ?? round.reason}` : ""}`;
  }

  function noteFor(posterior) {
    if (!posterior || isBeta(posterior)) return "";
    if (posterior.controller === "fixed") return `Fixed draft length: ${plural(posterior.length, "token")} in every round. This controller does not learn, so there is no curve.`;
    return `Controller ${posterior.controller ?? "without a name"}: it keeps no Beta posterior, so there is no curve.`;
  }

  class Why {
    constructor(plotly) {
      this.chart = new window.EESD.Chart("why", figure, plotly);
      this.note = el("p", { class: "e-note" });
      this.headline = el("p", { class: "e-headline" });
      this.list = el("ol", { class: "e-decisions", "aria-label": "decisions of this round" });
      const head = el("div", { class: "e-panel-head" }, el("h2", {}, "Why this draft length"),
        el("span", { class: "e-key" },
          el("span", {}, el("i", { class: "e-swatch e-line" }), "belief"), el("span", {}, el("i", { class: "e-swatch e-dotted" }), "after learning")));
      this.node = el("section", { class: "e-panel e-why" }, head, this.chart.box, this.note, this.headline, this.list);
    }

    draw(state) {
      const round = shownRound(state.lanes.eesd);
      const note = noteFor(round?.posterior);
      this.node.classList.toggle("e-no-curve", Boolean(note));
      setText(this.note, note);
      setText(this.headline, headline(round));
      const words = (round?.decisions ?? []).map(inWords);
      while (this.list.children.length > words.length) this.list.lastChild.remove();
      words.forEach((line, i) => setText(this.list.children[i] ?? this.list.appendChild(el("li")), line));
      this.list.scrollTop = this.list.scrollHeight; // the last decision is the one that stopped
    }
  }

  Object.assign(window.EESD, { Why, betaCurve });
})();

// The speedup law with this run on it: what a fixed draft length would give at an acceptance and a draft cost that can be moved.
(() => {
  "use strict";
  const { el, number, setText, Chart, figures, words } = window.EESD;
  const MOST_DRAFTS = 15;
  const OTHERS = [0.3, 0.5, 0.7, 0.9]; // acceptances drawn faintly, for comparison

  // What the law needs, from the run so far; null until a draft was judged. Times in seconds, each the mean over this very run; the shape
  // of T is the one measured when the run began, scaled to its verify passes.
  function measure(state) {
    const { eesd, vanilla } = state.lanes;
    const rounds = figures.verified(eesd);
    const tested = eesd.accepted + rounds.filter(figures.rejectedIn).length;
    if (!tested) return null;
    const sum = (values, over = rounds) => over.reduce((total, round) => total + values(round), 0);
    const lasting = ({ start, end }) => end - start;
    const verifying = sum(({ outcome }) => outcome.verify_seconds);
    const drafting = sum(({ outcome }) => outcome.draft_seconds);
    const shape = eesd.costs?.verify ?? [1];
    const shapeOf = (drafts) => shape[Math.min(drafts, shape.length - 1)];
    const scale = verifying / sum(({ outcome }) => shapeOf(outcome.drafted));
    const overhead = Math.max(0, sum(lasting) - verifying - drafting) / rounds.length;
    const draft = drafting / eesd.drafted;
    const steps = figures.verified(vanilla); // the one that is being taken is on the lane's clock already, and has written nothing yet
    const plain = steps.length ? sum(lasting, steps) / steps.length : scale * shapeOf(0) + overhead;
    return { alpha: eesd.accepted / tested, cost: draft / plain, plain, overhead, verify: (k) => scale * shapeOf(k), length: eesd.drafted / rounds.length, speedup: state.speedup };
  }

  function speedupAt({ plain, overhead, verify }, alpha, cost, k) {
    let tokens = 1;
    for (let i = 1; i <= k; i += 1) tokens += alpha ** i;
    return k ? (tokens * plain) / (k * cost * plain + verify(k) + overhead) : 1; // without drafts it is vanilla decoding
  }

  const curve = (run, alpha, cost) => Array.from({ length: MOST_DRAFTS + 1 }, (_, k) => speedupAt(run, alpha, cost, k));

  class Law {
    constructor(plotly, redraw) {
      this.redraw = redraw;
      this.moved = {}; // values of the sliders that were moved
      this.words = words.charts.law;
      this.chart = new Chart("law", (...given) => this.figure(...given), plotly);
      this.sliders = { alpha: this.slider("alpha", 0.99), cost: this.slider("cost", 1) };
      this.reset = el("button", { type: "button", class: "e-button" }, this.words.measured);
      this.reset.addEventListener("click", () => this.move({}));
      this.says = el("p", { class: "e-law-says", role: "status" });
      this.node = this.chart.panel(this.words.title);
      const controls = Object.values(this.sliders).map(({ node }) => node);
      const text = el("div", { class: "e-law-text" }, el("p", { class: "e-hint-line" }, this.words.intro), el("div", { class: "e-law-controls" }, ...controls, this.reset),
        this.says, el("p", { class: "e-formula" }, this.words.formula), el("p", { class: "e-hint-line" }, this.words.terms));
      const body = el("div", { class: "e-law-body" });
      this.chart.frame.before(body);
      body.append(this.chart.frame, text);
    }

    slider(name, most) {
      const input = el("input", { type: "range", min: "0", max: String(most), step: "0.01", class: "e-range" });
      const value = el("output", {}, "–");
      input.addEventListener("input", () => this.move({ ...this.moved, [name]: Number(input.value) }));
      return { input, value, node: el("label", {}, el("span", {}, this.words[name]), input, value) };
    }

    move(moved) {
      this.moved = moved;
      this.redraw();
    }

    get best() {
      return this.values ? this.values.indexOf(Math.max(...this.values)) : null;
    }

    figure(state, theme) {
      const run = measure(state);
      const empty = {
        data: [], layout: { margin: { l: 40, r: 44, t: 6, b: 32 } }, xaxis: { title: this.words.axis, range: [-0.5, MOST_DRAFTS + 0.5], dtick: 1, tickformat: "d", showgrid: false },
        yaxis: { title: this.words.speedup, range: [0, 2], nticks: 6 }, label: this.words.noRun, table: () => ({ columns: this.words.columns, rows: [] }),
      };
      this.values = null;
      if (!run) return this.say(this.words.noRun, empty);
      const { alpha, cost } = { ...run, ...this.moved };
      this.show("alpha", alpha);
      this.show("cost", cost);
      this.values = curve(run, alpha, cost);
      const best = this.best;
      const text = `${this.words.best(best, this.values[best])} ${this.words.run(run.length, run.speedup)}`;
      const top = Math.max(1.3, run.speedup || 0, ...this.values, ...OTHERS.flatMap((other) => curve(run, other, cost)));
      return this.say(text, {
        ...empty,
        data: [...OTHERS.map((other) => this.line(run, other, cost, theme)), this.even(theme), this.chosen(theme), this.bestDot(best, theme), this.dot(run, theme)],
        yaxis: { ...empty.yaxis, range: [0, 1.05 * top] },
        layout: { ...empty.layout, annotations: this.notes(run, cost, theme, top) },
        label: this.words.label(alpha, cost, text),
        table: () => ({ columns: this.words.columns, rows: this.values.map((value, k) => [k, number(value)]) }),
      });
    }

    say(text, figure) {
      setText(this.says, text);
      return figure;
    }

    show(name, value) {
      const { input, value: output } = this.sliders[name];
      if (document.activeElement !== input || !(name in this.moved)) input.value = String(value);
      setText(output, number(value));
    }

    line(run, alpha, cost, theme) {
      const y = curve(run, alpha, cost);
      return { type: "scatter", mode: "lines", x: y.map((_, k) => k), y, line: { color: theme("untested"), width: 1 }, opacity: 0.6, hovertemplate: `${this.words.curve(alpha)}, ${this.words.hover}<extra></extra>` };
    }

    even(theme) {
      return { type: "scatter", mode: "lines", x: [-0.5, MOST_DRAFTS + 0.5], y: [1, 1], line: { color: theme("ink"), width: 1, dash: "dash" }, hoverinfo: "skip" };
    }

    chosen(theme) {
      const { values } = this;
      return { type: "scatter", mode: "lines+markers", x: values.map((_, k) => k), y: values, line: { color: theme("accepted"), width: 2 }, marker: { size: 4 }, hovertemplate: `${this.words.hover}<extra></extra>` };
    }

    bestDot(best, theme) {
      return { type: "scatter", mode: "markers", x: [best], y: [this.values[best]], marker: { symbol: "circle-open", size: 13, color: theme("accepted"), line: { width: 2 } }, hoverinfo: "skip" };
    }

    dot(run, theme) {
      const known = Number.isFinite(run.speedup);
      return {
        type: "scatter", mode: "markers", x: known ? [run.length] : [], y: known ? [run.speedup] : [], hovertemplate: `${this.words.hereHover}<extra></extra>`,
        marker: { symbol: "star", size: 14, color: theme("bonus"), line: { color: theme("ink"), width: 1 } },
      };
    }

    notes(run, cost, theme, top) {
      const note = (x, y, text, more) => ({ x, y, text, showarrow: false, xanchor: "right", yanchor: "bottom", font: { color: theme("muted"), size: 11 * theme.scale }, ...more });
      const end = (alpha) => speedupAt(run, alpha, cost, MOST_DRAFTS);
      const apart = OTHERS.filter((alpha, i) => i === 0 || end(alpha) - end(OTHERS[i - 1]) > 0.1 * top); // names must not lie on each other
      const ends = apart.map((alpha) => note(MOST_DRAFTS + 0.5, end(alpha), this.words.curve(alpha), { xanchor: "left", yanchor: "middle" }));
      const here = Number.isFinite(run.speedup) ? [note(run.length, run.speedup, this.words.here, { xanchor: "left", yanchor: "top", xshift: 6, yshift: -2, font: { color: theme("ink"), size: 12 * theme.scale } })] : [];
      const even = note(0.6 * MOST_DRAFTS, 1, this.words.even, { xanchor: "center", yanchor: "top" });
      return [even, ...ends, ...here];
    }
  }

  Object.assign(window.EESD, { Law, measureLaw: measure });
})();

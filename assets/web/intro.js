// Before any run: what is going to be seen, in three steps with an example each, and what every mark means.
(() => {
  "use strict";
  const { el, dress, setText, statusOf } = window.EESD;
  const INVITATION = "Beside it, the same model writes one token at a time. Same text, two clocks: press Run.";
  const MEANINGS = {
    pending: "guessed, not checked yet",
    accepted: "guessed, and the model agrees",
    rejected: "the first wrong guess",
    untested: "guessed after a wrong one, never judged",
    correction: "the model's own token in place of a wrong guess",
    bonus: "one more token when every guess was right",
  };

  const sample = (...tokens) =>
    el("p", { class: "e-sample", "aria-hidden": "true" },
      ...tokens.map(([state, text]) => (state ? dress(el("span"), { state, text }) : el("span", { class: "e-prompt" }, text))));

  // A small Beta curve with one draw on it.
  function curve() {
    const svg = (tag, attributes) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
      return node;
    };
    const { x, y, at } = window.EESD.betaCurve({ alpha: 9, beta: 4 });
    const point = (u, v) => `${(4 + 152 * u).toFixed(1)},${(46 - 40 * v).toFixed(1)}`;
    const [left, top] = point(0.78, at(0.78)).split(",");
    const drawing = svg("svg", { class: "e-sample-curve", viewBox: "0 0 160 52", width: 160, height: 52, "aria-hidden": "true" });
    drawing.append(
      svg("polyline", { points: x.map((u, i) => point(u, y[i])).join(" ") }),
      svg("line", { x1: left, x2: left, y1: 46, y2: top }),
      svg("circle", { cx: left, cy: top, r: 4 }));
    return drawing;
  }

  const step = (title, words, ...example) => el("li", {}, el("b", {}, title), el("p", {}, words), ...example);

  const steps = () =>
    el("ol", {},
      step("1  Draft", "The first layers of the model guess a few tokens ahead.",
        sample(["", "The cat sat"], ["pending", " on"], ["pending", " the"], ["pending", " sofa"])),
      step("2  Verify", "The other layers check all guesses in one pass. Right ones stay; the first wrong one is replaced.",
        sample(["", "The cat sat"], ["accepted", " on"], ["accepted", " the"], ["rejected", " sofa"], ["correction", " mat"])),
      step("3  Learn", "Every check moves a curve of belief. A draw from it decides: guess on, or stop.",
        el("div", { class: "e-sample-row" }, curve(), el("p", { class: "e-sample" }, "theta 0.78, chi 1: go on"))));

  const meanings = () =>
    el("dl", { class: "e-meanings" },
      ...window.EESD.STATES.flatMap((state) => [
        el("div", {}, el("dt", {}, dress(el("span"), { state, text: state })), el("dd", {}, MEANINGS[state])),
      ]));

  class Intro {
    constructor() {
      this.line = el("p", { class: "e-intro-line", role: "status" });
      this.node = el("section", { class: "e-panel e-intro", "aria-label": "what you will see" }, steps(), meanings(), this.line);
    }

    draw(state) {
      setText(this.line, statusOf(state) || INVITATION);
    }
  }

  window.EESD.Intro = Intro;
})();

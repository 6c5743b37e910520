// The live test of distributions (eesd_core/same_law.py): how often each token was drawn by speculative rejection sampling and by plain
// sampling, and the distance between the two compared with chance.
import { NO_MORE, pattern } from "../lib/axes.js";
import { Chart, swatch } from "../lib/chart.js";
import { el } from "../lib/elements.js";
import { number } from "../lib/numbers.js";
import { say } from "../lib/words.js";
import { Study } from "./study.js";

const words = say.lawTest;
const LANES = ["eesd", "vanilla"];
const UNLIKELY = 0.01; // p below this counts as a difference: so few random splits reach the distance
const LONGEST = 14; // characters of a token that fit below a bar

// Escapes model text, because Plotly interprets tags and entities.
const ESCAPED = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
const spelled = (text) => (text === "" ? words.nothing : text.slice(0, LONGEST).replaceAll(" ", "␣").replaceAll("\n", "↵"));
const escaped = (text) => text.replaceAll(/[&<>]/g, (sign) => ESCAPED[sign]);

export class LawTest {
  constructor(view, { path, form }) {
    Object.assign(this, { name: "lawTest", view });
    this.study = new Study({ name: "law", words, path, form, see: (line) => this.show(line) });
    this.found = el("ul", { class: "e-fork" });
    this.charts = words.places.map((_, place) => new Chart(`place-${place}`, (_, theme) => this.figure(place, theme)));
    const keys = () => [swatch("accepted", words.lanes.eesd), swatch("untested", words.lanes.vanilla)];
    const charts = this.charts.map((chart, place) => chart.panel(words.places[place], ...keys()));
    this.body = el("div", { class: "s-charts", hidden: "" }, ...charts); // not drawn while it is hidden
    this.node = this.study.node;
    this.node.append(this.found, this.body);
  }

  show(comparison) {
    this.comparison = comparison;
    this.body.hidden = false;
    const { drawn, wanted, acceptance, places, together } = comparison;
    const verdict = together.p < UNLIKELY ? words.differs : words.same;
    this.study.say(words.progress(drawn, wanted, acceptance) + (drawn === wanted ? ` ${verdict}` : ""));
    const named = [...places.map(({ distance }, i) => [words.places[i], distance]), [words.together, together]];
    this.found.replaceChildren(...named.map(([name, distance]) => el("li", {}, words.distance(name, distance))));
    this.view.pace.request();
  }

  figure(place, theme) {
    const { drawn, places } = this.comparison;
    const { tokens, other, distance } = places[place];
    const names = [...tokens.map(([text]) => spelled(text)), words.other];
    const counts = LANES.map((_, lane) => [...tokens.map((row) => row[1 + lane]), other[lane]]);
    const markers = [{ color: theme("accepted") }, pattern(theme("untested"), "/", theme("panel"))];
    const x = names.map((_, i) => i);
    const shares = counts.map((values) => values.map((count) => count / drawn));
    return {
      data: LANES.map((lane, i) => ({
        type: "bar",
        name: words.lanes[lane],
        x,
        y: shares[i],
        text: names.map((name) => `${escaped(name)}, ${words.lanes[lane]}`),
        textposition: "none",
        marker: markers[i],
        hovertemplate: words.hover + NO_MORE,
      })),
      layout: { barmode: "group", bargap: 0.25, margin: { l: 40, r: 6, t: 6, b: 64 } },
      xaxis: { tickvals: x, ticktext: names.map(escaped), tickangle: -40, showgrid: false, range: [-0.6, names.length - 0.4] },
      yaxis: { title: words.share, range: [0, 1.08 * Math.max(...shares.flat(), 0.01)], nticks: 5, tickformat: ".2~g" },
      label: words.label(words.places[place], distance),
      table: () => ({ columns: words.columns, rows: names.map((name, i) => [name, ...shares.map((values) => number(values[i], 3))]) }),
    };
  }
}

// The report: builds the page from the JSON embedded in it. Everything from the JSON is set as text.
import { el, tableHead } from "../lib/elements.js";
import { plural } from "../lib/numbers.js";
import { unpack } from "../lib/packed.js";
import * as figures from "./figures.js";

const report = JSON.parse(document.getElementById("report").textContent);
const main = document.querySelector("main");
const charts = [];

const theme = (name) => getComputedStyle(document.body).getPropertyValue(`--${name}`).trim();
const fixed = (value, digits = 2, unit = "") => (value === null ? "–" : value.toFixed(digits) + unit);
const words = (value) =>
  value === null || value === ""
    ? "–"
    : typeof value === "object"
      ? Object.entries(value)
          .map(([k, v]) => `${k} ${v}`)
          .join(", ")
      : String(value);

function table(columns, rows, best, kind = "") {
  const body = el(
    "tbody",
    {},
    ...rows.map((cells, i) =>
      el("tr", { class: i === best ? "best" : "" }, el("th", { scope: "row" }, cells[0]), ...cells.slice(1).map((cell) => el("td", {}, cell))),
    ),
  );
  main.append(el("div", { class: "scroll", tabindex: "0" }, el("table", { class: kind }, tableHead(columns), body)));
}

function chart(title, caption, make) {
  const box = el("div", { role: "img", "aria-label": title });
  charts.push({ box, make });
  main.append(el("figure", {}, el("strong", {}, title), box, el("figcaption", {}, caption)));
}

function draw() {
  if (!window.Plotly) return;
  for (const { box, make } of charts) {
    const { data, height, legend = false, xaxis, yaxis, ...layout } = make(theme);
    const axis = ({ title = "", ...values }) => ({
      automargin: true,
      fixedrange: true,
      zeroline: false,
      gridcolor: theme("line"),
      title: { text: title, font: { size: 12 } },
      ...values,
    });
    window.Plotly.react(
      box,
      data,
      {
        ...layout,
        width: box.clientWidth,
        height: height + (legend ? Math.max(60, box.clientWidth < 600 ? 22 * data.length : 0) : 0),
        showlegend: legend,
        legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
        margin: { l: 8, r: 12, t: 8, b: 8 },
        font: { color: theme("ink"), size: 12 },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        dragmode: false,
        xaxis: axis(xaxis),
        yaxis: axis(yaxis),
        hoverlabel: { bgcolor: theme("ground"), font: { color: theme("ink") } },
      },
      { displayModeBar: false, responsive: false },
    );
  }
}

function rowCells([name, row]) {
  const [low, high] = row.speedup.interval;
  const same = row.identical === null ? "same law" : `${row.identical} of ${row.compared}`;
  const stages = row.time ? ["draft", "verify", "overhead"].map((stage) => fixed(100 * row.time[stage], 1, " %")) : ["–", "–", "–"];
  return [
    name,
    `${fixed(row.speedup.overall)}x`,
    `${fixed(low)} to ${fixed(high)}`,
    `${fixed(row.speedup.median)}x`,
    `${fixed(row.speedup_over_fastest_plain.overall)}x`,
    same,
    fixed(row.tokens_per_second, 1),
    fixed(row.acceptance_rate),
    fixed(row.mean_accepted_length),
    fixed(row.target_passes_per_token),
    fixed(row.draft_passes_per_token),
    ...stages,
    row.regret ? fixed(row.regret.percent, 1, " %") : "–",
    fixed(row.prefill_seconds * 1000, 0, " ms"),
    fixed(row.wall_seconds, 1, " s"),
    fixed(row.joules_per_token, 2, " J"),
    row.peak_bytes === null ? "–" : fixed(row.peak_bytes / 2 ** 20, 0, " MiB"),
  ];
}
const COLUMNS = [
  "method",
  "speedup",
  "95 % interval",
  "median over prompts",
  "over fastest plain",
  "identical",
  "tokens/s",
  "acceptance rate",
  "tokens/round",
  "target passes/token",
  "draft passes/token",
  "drafting",
  "verifying",
  "overhead",
  "regret",
  "prefill",
  "wall time",
  "energy/token",
  "peak memory",
];

function section(group, detailed) {
  const rows = Object.entries(group.methods);
  main.append(el("h2", {}, group.title));
  const size = `${group.prompts.length} prompts, ${group.new_tokens} new tokens, ${plural(group.repeats, "repeat")}, ${words(group.sampling)}`;
  main.append(el("p", { class: "note" }, `${size}. Speedup over vanilla on all prompts together; the fastest without drafts here: ${group.fastest_plain}.`));
  const best = rows.reduce((found, [, row], i) => (row.speedup.overall > rows[found][1].speedup.overall ? i : found), 0);
  table(COLUMNS, rows.map(rowCells), best);
  if (!detailed) return;
  const drafting = rows.some(([, row]) => row.drafted > 0);
  if (report.suite === "thompson") {
    const rows = "rows: prior, and the share of its counts that the posterior keeps from round to round";
    chart("Speedup over the grid", `times vanilla; ${rows}`, (t) => figures.grid(group, (row) => row.speedup.overall, t));
    chart("Acceptance rate over the grid", `accepted / drafted; ${rows}`, (t) => figures.grid(group, (row) => row.acceptance_rate, t));
    return;
  }
  chart("Speedup by method", "over vanilla; whiskers: 95 % bootstrap interval over prompts; grey: transformers", (t) => figures.speedups(group, t));
  if (group.categories.length > 1) chart("Speedup by category", "on the category's prompts together, times vanilla", (t) => figures.categories(group, t));
  if (drafting) {
    chart("Acceptance per position", "of the rounds that tested this draft, the share that accepted it", (t) => figures.positions(group, t));
    chart("Tokens per round", "mean accepted length: 1 + accepted / rounds", (t) => figures.perRound(group, t));
    chart("Passes per token", "forward passes, which no hardware changes: of the whole target, and of a model for drafting", (t) => figures.passes(group, t));
    chart("Where the time goes", "of decoding time; peers do not tell", (t) => figures.timeSplit(group, t));
    chart("Draft lengths", "per cent of rounds with so many drafts", (t) => figures.lengths(group, t));
  }
  if (rows.some(([, row]) => row.regret && !row.controller.startsWith("fixed")))
    chart("Regret", "decoding time lost against the fixed draft length that turned out fastest, summed over prompts; below zero: gained", () =>
      figures.regrets(group),
    );
}

function along() {
  const on = report.groups.filter(({ x }) => x !== null);
  if (on.length < 2) return;
  const axis = report.suite === "length" ? "new tokens" : report.suite;
  main.append(el("h2", {}, `Along the ${axis}`));
  chart("Speedup", "times vanilla", () => figures.along(on, (row) => row.speedup.overall, "times vanilla", axis));
  chart("Acceptance rate", "accepted / drafted", () => figures.along(on, (row) => row.acceptance_rate, "share accepted", axis));
  chart("Tokens per second", "while decoding", () => figures.along(on, (row) => row.tokens_per_second, "tokens/s", axis));
}

function head() {
  const { model, suite, finished, machine } = report;
  const button = el("button", { type: "button", title: "light or dark", "aria-label": "light or dark" }, "◐");
  button.addEventListener("click", () => {
    document.body.classList.toggle("dark");
    draw();
  });
  const chips = [`suite ${suite}`, model.name, `${machine.device} ${model.dtype}`, model.exactness, `${finished.replace("T", " ")} UTC`];
  document.querySelector("header").append(el("h1", {}, "Benchmark"), ...chips.map((text) => el("span", { class: "chip" }, text)), button);
  main.append(
    el(
      "p",
      {},
      "Every method completed the same prompts with the same model on this machine, in one process, taking turns (A B B A). " +
        "Every figure is also in report.json, which the command line writes next to this page.",
    ),
  );
  if (machine.load_at_start > 1.5)
    main.append(el("p", {}, `Other work was running when this began (load ${machine.load_at_start}): these figures are not to be quoted.`));
}

function settings() {
  const described = Object.fromEntries(report.groups.flatMap((group) => Object.entries(group.methods)));
  main.append(el("h2", {}, "Methods"));
  table(
    ["method", "what it is", "drafter", "controller"],
    Object.entries(described).map(([name, row]) => [name, row.describes, words(row.drafter), words(row.controller)]),
    -1,
    "words",
  );
  const facts = { model: report.model, machine: report.machine, "costs (ms)": report.costs_ms, notes: report.notes };
  main.append(el("h2", {}, "Model, machine, settings"));
  const rows = Object.entries(facts).flatMap(([what, values]) => Object.entries(values).map(([name, value]) => [`${what}: ${name}`, words(value)]));
  table(
    ["what", "value"],
    [...rows, ["sittings", String(report.sittings)], ["peak memory of the process", fixed(report.process_peak_bytes / 2 ** 20, 0, " MiB")]],
    -1,
    "words",
  );
}

function published() {
  main.append(el("h2", {}, "Published figures"));
  main.append(
    el(
      "p",
      { class: "note" },
      "By the authors of each method, with other models on other hardware: for orientation, not for comparison with what was measured here.",
    ),
  );
  table(
    ["method", "speedup", "model", "hardware", "source"],
    report.published.map((row) => [row.method, row.speedup, row.model, row.hardware ?? "not stated where we read it", row.source]),
    -1,
    "words",
  );
  const ran = report.groups[0];
  const where = [report.model.name, `${report.machine.processor}, ${report.machine.device}`];
  main.append(el("h3", {}, "Measured here"));
  table(
    ["method", "speedup", "model", "hardware"],
    Object.entries(ran.methods).map(([name, row]) => [name, `${fixed(row.speedup.overall)}x`, ...where]),
    -1,
    "words",
  );
}

async function loadPlotly() {
  document.head.append(el("script", {}, await unpack(document.getElementById("plotly").textContent)));
  draw();
}

if (window.matchMedia("(prefers-color-scheme: dark)").matches) document.body.classList.add("dark");
head();
along();
for (const group of report.groups) section(group, report.groups.length === 1 || group.x === null);
published();
settings();
let waiting = 0;
window.addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(draw, 150);
});
loadPlotly();

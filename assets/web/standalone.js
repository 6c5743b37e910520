// A run in one offline file: opens the trace embedded in the file, and unpacks plotly.js, for which only the charts wait.
import { recordedWhere } from "./lib/citation.js";
import { el } from "./lib/elements.js";
import { unpack } from "./lib/packed.js";
import { plotly } from "./lib/plotly.js";
import { parse } from "./lib/trace.js";
import { say } from "./lib/words.js";
import { Sandbox } from "./panels/sandbox.js";
import { TakeAway } from "./panels/take_away.js";
import { Together } from "./panels/together.js";
import { WhatIf } from "./panels/what_if.js";
import { attach } from "./stage.js";

let runs = null;
const textIn = (id) => document.getElementById(id).textContent;
const said = (words) => say.page.form[words] ?? words;
const chip = (words, more = "") => el("span", { class: `s-chip ${more}` }, words);

function title(head, records) {
  const { model, device, dtype } = records.find(({ type }) => type === "run_started");
  const hint = said("light or dark");
  const theme = el("button", { type: "button", class: "s-theme", title: hint, "aria-label": hint }, "◐");
  theme.addEventListener("click", () => document.body.classList.toggle("dark"));
  const where = head.machine ? [chip(recordedWhere(head))] : [];
  const chips = [chip(said("RECORDED"), "s-mode"), ...where, chip(model), ...(device ? [chip(`${device} ${dtype}`)] : [])];
  document.querySelector(".s-title").replaceChildren(el("h1", {}, "EESD Live"), ...chips, ...(runs ? [runs] : []), theme);
}

// A lecture page has several runs, to choose from in the title line.
function choose(texts) {
  const node = el("select", { class: "s-runs", "aria-label": say.takeaway.runs });
  texts.map(parse).forEach(({ head, records }, i) => node.append(el("option", { value: String(i) }, nameOf(head, records, i))));
  node.addEventListener("change", () => takeAway.show(texts[Number(node.value)]));
  return node;
}

function nameOf(head, records, i) {
  const { prompt, settings } = records.find(({ type, lane }) => type === "run_started" && lane === "eesd") ?? records[0];
  const rules = [settings?.drafter, settings?.controller?.controller, `T ${settings?.temperature}`].filter(Boolean).join(", ");
  return `${i + 1}. ${String(prompt).slice(0, 40)} (${rules})`;
}

async function openLecture(packed) {
  const texts = await Promise.all(JSON.parse(packed).map(unpack));
  runs = choose(texts);
  takeAway.show(texts[0]);
}

async function loadPlotly() {
  plotly.isComing = true;
  try {
    document.head.append(el("script", {}, await unpack(textIn("plotly"))));
  } finally {
    plotly.isComing = false;
    view.pace.request();
  }
}

if (window.matchMedia("(prefers-color-scheme: dark)").matches) document.body.classList.add("dark");
export const view = attach(document.querySelector(".eesd"));
view.add(new WhatIf(view), "below");
view.add(new Together(view), "below");
view.add(new Sandbox(view), "below");
export const takeAway = view.add(new TakeAway(view), "below");
takeAway.onOpen = title;
const trace = textIn("trace");
const several = document.getElementById("traces");
if (trace.trim()) takeAway.show(trace);
else if (several) openLecture(several.textContent);
loadPlotly();

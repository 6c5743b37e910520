// The words of the panels below the stage.
import { number, plural } from "../../lib/numbers.js";

const signed = ({ measured, chance, most }) => `${number(measured)}; chance alone gives ${number(chance)}, and in 95 of 100 cases less than ${number(most)}`;

const megabytes = (bytes) => number(bytes / 1e6, 0);

export const arrivals = {
  live: (model) => `live here: ${model}`,
  state: ({ model, state, seconds, done, total, problem }) => {
    if (state === "loading") return `the model is loading: ${seconds} s`;
    if (state === "ready") return `${model} is ready: choose it beside the prompt`;
    if (state === "failed") return `${model} could not be fetched: ${problem}`;
    return done < total ? `fetching ${model}: ${megabytes(done)} of ${megabytes(total)} MB` : `unpacking ${model}`;
  },
};

// What a model is, by the name that the page shows.
export const models = {
  "smollm2-early":
    "SmolLM2-135M-Instruct with a small LoRA of ours on its last layers, trained so that they agree more with its exit layer. That makes it " +
    "another model, which writes other text. The original is smollm2, beside the prompt.",
  smollm2: "SmolLM2-135M-Instruct, with the weights of its GGUF file.",
  "embedded model": "The storyteller: 15 million parameters, trained for this page. It continues stories.",
};

export const takeaway = {
  title: "Take away",
  note: "Everything except the QR code is made in your browser, and nothing is sent.",
  trace: ["Trace", "every event of this run, as NDJSON: opens here and in `python -m eesd_core replay`"],
  html: ["Web page", "this run as one HTML file that opens anywhere, offline"],
  csv: ["CSV", "one row per round, for a spreadsheet"],
  perfetto: ["Perfetto", "a timeline for ui.perfetto.dev or chrome://tracing"],
  svg: ["Charts SVG", "every chart as a drawing"],
  png: ["Charts PNG", "every chart as a picture, twice its size on screen"],
  cite: ["Cite", "how to cite this run"],
  open: ["Open a trace", "show a run that was saved earlier"],
  link: ["Copy link", "the prompt, the seed and every setting in one address"],
  qr: ["QR code", "the link, to be scanned from a screen"],
  cores: (count) => plural(count, "core"),
  runs: "which run is shown",
  lecture: ["Lecture page", "several recorded runs with tour and sandbox in one file that works offline"],
  nowhere: "the trace does not say where",
  copy: "copy",
  copied: "copied",
  notCopied: "The browser does not let this page copy: select the text and copy it yourself.",
  close: "close",
  saved: (name) => `saved ${name}`,
  opened: (name) => `showing ${name}`,
  noRun: "There is no run to take away yet: press Run.",
  noTrace: "this is not a trace: save one with the Trace button, or with `race ... --trace FILE`; or open a response of vLLM or llama.cpp",
  noForeign: (why) => `This response says too little about its drafts (${why}): vLLM's has metrics.speculative_decoding, llama.cpp's has timings.`,
  noJson: "it cannot be read as JSON: the file was cut off or changed",
  broken: (line, why) => `Line ${line} of the trace: ${why}`,
  tooLarge: (most) => `The trace is larger than ${most} MB: save a shorter run.`,
  notMade: "The file could not be made: the server did not answer. Try again.",
  linkTooLong: "Prompt and conversation are too long for a QR code: copy the link instead.",
  tooLongToLink: "The conversation is too long for a link: save the trace instead.",
  refused: (names) => `The link asks for impossible values (${names}): the usual ones are used instead.`,
  paper: [
    "The method:",
    "@inproceedings{liu-etal-2024-speculative-decoding,",
    "  title = {Speculative Decoding via Early-exiting for Faster {LLM} Inference with {T}hompson Sampling Control Mechanism},",
    "  author = {Liu, Jiahao and Wang, Qifan and Wang, Jingang and Cai, Xunliang},",
    "  booktitle = {Findings of the Association for Computational Linguistics: ACL 2024},",
    "  pages = {3027--3043}, year = {2024}, doi = {10.18653/v1/2024.findings-acl.179}",
    "}",
  ].join("\n"),
};

export const whatIf = {
  title: "What if",
  note: "Worked out, not run: this run's own drafts under other rules, at the costs its rounds measured. Regret: time lost against the best lengths.",
  columns: ["draft lengths", "speedup", "tok/s", "regret", "rounds", "accepted"],
  better: "(shorter is better)",
  names: { "this run": "this run", oracle: "best in hindsight" },
  fixed: (length) => `fixed: ${length}`,
  bestFixed: (length) => `best fixed: ${length}`,
  siblings: (name) => `${name}, with siblings`,
  ms: (value) => `${number(value, 0)} ms`,
};

export const runs = {
  title: "Runs of this visit",
  note: "Change the weights, the controller or the temperature, run again, and compare.",
  columns: ["weights", "rule", "T", "accepted", "tok/round", "EESD tok/s", "vanilla tok/s", "speedup", "texts"],
  levels: {
    "exact-by-construction": "identical by construction",
    "exact-as-observed": "identical as observed",
    fork: "they differ",
    "same-distribution": "same distribution",
  },
};

export const studies = {
  start: "start",
  stop: "stop",
  stopped: (why) => `stopped ${why || "by you"}`,
  preparing: "preparing...",
  lost: "The server does not answer. Try again.",
};

export const lawTest = {
  title: "The same distribution?",
  start: "Draw 500 and 500",
  note:
    "Draws the two tokens after the prompt 500 times by speculative rejection sampling and 500 times plainly, with the temperature and cuts " +
    "of the form, and compares how often each token came up.",
  lanes: { eesd: "speculative", vanilla: "plain" },
  places: ["First token", "Second token"],
  share: "share of draws",
  other: "other",
  nothing: "no token",
  hover: "%{text}: %{y:.3f}",
  progress: (drawn, wanted, accepted) => `${drawn} of ${wanted} each; ${number(100 * accepted, 0)} % of tested drafts accepted.`,
  distance: (name, found) => `${name}: total variation ${signed(found)}.`,
  together: "Both together",
  same: "No difference beyond chance.",
  differs: "The difference is larger than chance explains. One test in a hundred says so by bad luck: draw again with another seed.",
  label: (name, found) => `${name}: shares of the most likely tokens by both ways of drawing, total variation ${signed(found)}.`,
  columns: ["token", "speculative", "plain"],
};

export const benchmark = {
  title: "Benchmark",
  start: "Run a small one",
  note:
    "Six methods on the same four prompts, 32 tokens each, on this machine while it serves this page: a first impression, not a figure to quote. " +
    "For real figures: python -m eesd_core bench",
  latest: ({ recorded, suite, finished, model, dtype, machine }) =>
    `${recorded ? "Recorded report" : "Latest report"}: ${suite}, ${finished.replace("T", " ")} UTC, ${model} ${dtype}, ${machine}.`,
  none: "No report of a large benchmark is here yet.",
  show: "show it",
  hide: "hide",
  open: "in a new tab",
  frame: "benchmark report",
  progress: (done, total, left, doing) => (total ? `${done} of ${plural(total, "text")}, about ${Math.ceil(left)} s left: ${doing}` : doing),
  finished: "Finished: the report is below.",
};

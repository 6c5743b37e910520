// All visible words of the live test of distributions and of the benchmark, in one place for translation.
(() => {
  "use strict";
  const { number, plural } = window.EESD;
  const signed = ({ measured, chance, most }) => `${number(measured)}; chance alone gives ${number(chance)}, and in 95 of 100 cases less than ${number(most)}`;

  window.EESD.words.runs = {
    title: "Runs of this visit",
    note: "Change the weights, the controller or the temperature, run again, and compare.",
    columns: ["weights", "rule", "T", "accepted", "tok/round", "EESD tok/s", "vanilla tok/s", "speedup", "texts"],
    levels: { "exact-by-construction": "identical by construction", "exact-as-observed": "identical as observed", fork: "they part", "same-distribution": "same distribution" },
  };
  window.EESD.words.studies = {
    start: "start",
    stop: "stop",
    stopped: (why) => `stopped ${why || "by you"}`,
    preparing: "preparing...",
    lost: "The server does not answer: try again.",
  };
  window.EESD.words.lawTest = {
    title: "The same distribution?",
    start: "Draw 500 and 500",
    note: "Draws the next two tokens behind the prompt 500 times by speculative rejection sampling and 500 times plainly, with the form's temperature and cuts, and compares how often each token came.",
    lanes: { eesd: "speculative", vanilla: "plain" },
    places: ["First token", "Second token"],
    share: "share of draws",
    other: "other",
    nothing: "no token",
    hover: "%{text}: %{y:.3f}",
    progress: (drawn, wanted, accepted) => `${drawn} of ${wanted} by each; ${number(100 * accepted, 0)} % of tested drafts accepted.`,
    distance: (name, found) => `${name}: total variation ${signed(found)}.`,
    together: "Both together",
    same: "No difference beyond chance.",
    differs: "More than chance should give: one test in a hundred says so by bad luck. Draw again with another seed.",
    label: (name, found) => `${name}: shares of the likeliest tokens by both ways of drawing, total variation ${signed(found)}.`,
    columns: ["token", "speculative", "plain"],
  };
  window.EESD.words.benchmark = {
    title: "Benchmark",
    start: "Run a small one",
    note: "Six methods on the same four prompts, 32 tokens each, on this machine while it serves this page: a look, no figure to quote. Large ones: python -m eesd_core bench",
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
})();

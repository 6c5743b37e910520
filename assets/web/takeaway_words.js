// All visible words of what can be taken away from a run, in one place for translation.
(() => {
  "use strict";
  const { number, plural } = window.EESD;
  window.EESD.words.takeaway = {
    title: "Take away",
    note: "Everything but the link is made in your browser; nothing is sent.",
    trace: ["Trace", "every event of this run, as NDJSON: opens here, and in `python -m eesd_core replay`"],
    html: ["Web page", "this run as one HTML file that opens anywhere, offline"],
    csv: ["CSV", "one row a round, for a spreadsheet"],
    perfetto: ["Perfetto", "a timeline for ui.perfetto.dev or chrome://tracing"],
    svg: ["Charts SVG", "every chart as a drawing"],
    png: ["Charts PNG", "every chart as a picture, twice its size on screen"],
    cite: ["Cite", "how to quote this run"],
    open: ["Open a trace", "show a run that was saved earlier"],
    link: ["Copy link", "the prompt, the seed and every setting in one address"],
    qr: ["QR code", "the link, to be read off a screen"],
    cores: (count) => plural(count, "core"),
    nowhere: "the trace does not say where",
    copy: "copy",
    copied: "copied",
    notCopied: "the browser does not let this page copy: select the text and copy it",
    close: "close",
    saved: (name) => `saved ${name}`,
    opened: (name) => `showing ${name}`,
    noRun: "There is no run to take away yet: press Run.",
    noTrace: "this is no trace: save one with the button Trace, or with `race ... --trace FILE`",
    noJson: "it cannot be read as JSON: the file was cut off or changed",
    broken: (line, why) => `Line ${line} of the trace: ${why}`,
    tooLarge: (most) => `The trace is larger than ${most} MB: save a shorter run.`,
    notMade: "The file could not be made: the server did not answer. Try again.",
    linkTooLong: "The prompt is too long for a QR code: copy the link instead.",
    refused: (names) => `The link asks for what cannot be (${names}): the usual values are used instead.`,
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
  window.EESD.words.whatIf = {
    title: "What if",
    note: "This run's own drafts under other rules, at what its rounds cost. Regret: time lost against the best lengths in hindsight.",
    columns: ["draft lengths", "speedup", "tok/s", "regret", "rounds", "accepted"],
    names: { "this run": "this run", oracle: "best in hindsight" },
    fixed: (length) => `fixed: ${length}`,
    bestFixed: (length) => `best fixed: ${length}`,
    ms: (value) => `${number(value, 0)} ms`,
  };
})();

// A run in one offline file: it opens the trace that stands in the file, and unpacks plotly.js, which charts wait for and nothing else does.
(() => {
  "use strict";
  const EESD = window.EESD;
  const { el } = EESD;
  const text = (id) => document.getElementById(id).textContent;
  const said = (words) => EESD.words.page.form[words] ?? words;
  const chip = (words, more = "") => el("span", { class: `s-chip ${more}` }, words);

  function title(head, records) {
    const { model, device, dtype } = records.find(({ type }) => type === "run_started");
    const theme = el("button", { type: "button", class: "s-theme", title: said("light or dark"), "aria-label": said("light or dark") }, "◐");
    theme.addEventListener("click", () => document.body.classList.toggle("dark"));
    const chips = [chip(said("RECORDED"), "s-mode"), ...(head.machine ? [chip(EESD.recordedWhere(head))] : []), chip(model), chip(`${device} ${dtype}`)];
    document.querySelector(".s-title").replaceChildren(el("h1", {}, "EESD Live"), ...chips, theme);
  }

  async function loadPlotly() {
    EESD.plotlyIsComing = true;
    try {
      document.head.append(el("script", {}, await EESD.unpack(text("plotly"))));
    } finally {
      EESD.plotlyIsComing = false;
      EESD.view.pace.request();
    }
  }

  EESD.language.saved = document.documentElement.lang;
  if (window.matchMedia("(prefers-color-scheme: dark)").matches) document.body.classList.add("dark");
  EESD.view = EESD.attach(document.querySelector(".eesd"));
  const takeaway = (EESD.takeaway = new EESD.Takeaway(EESD.view));
  const whatIf = new EESD.WhatIf(EESD.view);
  EESD.view.root.append(whatIf.node, takeaway.node);
  takeaway.onOpen = title;
  const trace = text("trace");
  if (trace.trim()) {
    takeaway.show(trace);
  }
  loadPlotly();
})();

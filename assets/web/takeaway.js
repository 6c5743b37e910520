// What can be taken away from the run on the page: its trace, one offline file, tables, charts, a link, and how to quote it. And the way
// back: a trace that is opened again.
(() => {
  "use strict";
  const { el, setText, number, exports, words: { takeaway: words } } = window.EESD;
  const KINDS = {
    trace: ["ndjson", "application/x-ndjson", exports.ndjson],
    csv: ["csv", "text/csv", exports.csv],
    perfetto: ["perfetto.json", "application/json", exports.perfetto],
  };
  const today = () => new Date().toISOString().slice(0, 10);

  function button(name, act) {
    const [label, title] = words[name];
    const node = el("button", { type: "button", class: `e-button t-${name}`, title }, label);
    node.addEventListener("click", act);
    return node;
  }

  function download(name, href) {
    const anchor = el("a", { href, download: name });
    document.body.append(anchor);
    anchor.click();
    anchor.remove();
  }

  // `page`: {facts, template, link, qr}, what only a page with a server behind it has.
  class Takeaway {
    constructor(view, page = null) {
      Object.assign(this, { view, page });
      this.line = el("p", { class: "t-line", role: "status" });
      this.picker = el("input", { type: "file", accept: ".ndjson,.jsonl,.json,.txt", class: "e-hidden", tabindex: "-1", "aria-hidden": "true" });
      this.picker.addEventListener("change", () => this.open(this.picker.files[0]));
      this.dialog = el("dialog", { class: "e-key-list t-dialog" });
      this.dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Escape closes it and nothing else
      const own = page ? [button("html", () => this.html())] : [];
      const shared = page ? [button("link", () => this.link()), button("qr", () => this.qr())] : [];
      const files = [button("trace", () => this.save("trace")), ...own, button("csv", () => this.save("csv")), button("perfetto", () => this.save("perfetto"))];
      const charts = ["svg", "png"].map((format) => button(format, () => this.charts(format)));
      const rest = [button("cite", () => this.cite()), ...shared, button("open", () => this.picker.click())];
      const group = (...nodes) => el("span", { class: "t-group" }, ...nodes);
      const head = el("div", { class: "e-panel-head" }, el("h2", {}, words.title), group(...files), group(...charts), group(...rest));
      this.node = el("section", { class: "e-panel t-panel", "aria-label": words.title }, head, this.line, this.picker, this.dialog);
      this.say(words.note);
    }

    say(text) {
      setText(this.line, text);
    }

    // Of a live run the page knows date and machine itself.
    get trace() {
      const { records } = this.view.player.timeline;
      const head = this.view.recording ?? (this.page ? { type: "recording", format: "eesd-trace/1", date: today(), ...this.page.facts } : null);
      return records.some(({ lane }) => lane) ? { head, records } : null;
    }

    // Calls `make` with the trace, if there is one; what goes wrong is one line.
    async with(make) {
      if (!this.trace) return this.say(words.noRun);
      try {
        await make(this.trace);
      } catch {
        this.say(words.notMade);
      }
    }

    save(kind) {
      const [ending, type, make] = KINDS[kind];
      return this.with((trace) => this.keep(`eesd-run.${ending}`, type, make(trace)));
    }

    html() {
      return this.with(async (trace) => this.keep("eesd-run.html", "text/html", exports.html(trace, await this.page.template())));
    }

    keep(name, type, text) {
      const url = URL.createObjectURL(new Blob([text], { type }));
      download(name, url);
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
      this.say(words.saved(name));
    }

    // plotly's own pictures, on the colour of the panel they lie on.
    charts(format) {
      return this.with(async () => {
        this.view.drawAll(); // also what is out of sight
        const plots = [...this.view.root.querySelectorAll(".e-chart.js-plotly-plot")];
        for (const plot of plots) {
          const { clientWidth: width, clientHeight: height } = plot;
          if (!width || !height) continue;
          const ground = getComputedStyle(plot).getPropertyValue("--e-panel").trim();
          const figure = { data: plot.data, layout: { ...plot.layout, paper_bgcolor: ground } };
          const name = `eesd-${[...plot.classList].find((own) => own.startsWith("e-chart-")).slice(8)}.${format}`;
          download(name, await window.Plotly.toImage(figure, { format, width, height, scale: format === "png" ? 2 : 1 }));
          this.say(words.saved(name));
          await new Promise((next) => setTimeout(next, 150)); // a browser keeps only the last of several downloads at once
        }
      });
    }

    async open(file) {
      if (!file) return;
      this.picker.value = ""; // the same file can be chosen again
      try {
        if (file.size > EESD.trace.MOST_BYTES) throw new Error(words.tooLarge(EESD.trace.MOST_BYTES / 2 ** 20));
        this.show(await file.text());
        this.say(words.opened(file.name));
      } catch (problem) {
        this.say(problem.message);
      }
    }

    // Shows a trace's text. Throws an Error in words.
    show(text) {
      const { head, records } = EESD.trace.parse(text);
      const recording = head ?? { type: "recording", format: "eesd-trace/1" };
      const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.view.open(exports.ndjson({ head: recording, records }), still ? "over" : "playing");
      this.onOpen?.(recording, records);
    }

    // ---- link ----

    async link() {
      this.copy(this.page.link());
    }

    async copy(text) {
      try {
        await navigator.clipboard.writeText(text);
        this.say(words.copied);
      } catch {
        this.tell(words.link[0], text, words.notCopied);
      }
    }

    qr() {
      const link = this.page.link();
      if (link.length > 1000) return this.say(words.linkTooLong);
      this.tell(words.qr[0], link, "", el("img", { class: "t-qr", src: this.page.qr(link), alt: words.qr[1], width: 260, height: 260 }));
    }

    cite() {
      return this.with((trace) => this.tell(words.cite[0], citation(trace), ""));
    }

    tell(title, text, note, ...more) {
      const copy = el("button", { type: "button", class: "e-button" }, words.copy);
      const close = el("button", { type: "button", class: "e-button" }, words.close);
      copy.addEventListener("click", () => this.copy(text));
      close.addEventListener("click", () => this.dialog.close());
      this.dialog.replaceChildren(el("h2", {}, title), ...more, el("pre", { class: "t-text", tabindex: "0" }, text), el("p", {}, note), copy, " ", close);
      if (!this.dialog.open) this.dialog.showModal();
    }
  }

  // ---- how to quote a run: everything that is needed to do it again ----

  const listed = (values) => Object.entries(values ?? {}).map(([name, value]) => `${name} ${value}`).join(", ");

  function citation({ head, records }) {
    const started = records.find(({ type, lane }) => type === "run_started" && lane === "eesd") ?? records.find(({ type }) => type === "run_started");
    const result = records.find(({ type }) => type === "race_finished");
    const { controller, controller_settings: own, ...settings } = started?.settings ?? {};
    const written = records.filter(({ type, lane }) => type === "tokens_committed" && lane === started?.lane).reduce((sum, { ids }) => sum + ids.length, 0);
    return [
      `EESD Live${head?.date ? `, run of ${head.date}` : ""}.`,
      `Prompt: ${JSON.stringify(started?.prompt ?? "")}`,
      `Model: ${started?.model}, ${started?.device} ${started?.dtype}${head?.machine ? `, ${head.machine}` : ""}`,
      `Settings: ${listed(settings)}`,
      `Controller: ${[controller?.controller, listed(own)].filter(Boolean).join(", ")}`,
      `Versions: ${listed(started?.versions)}`,
      `Result: ${written} tokens${result ? `, ${result.level.replaceAll("-", " ")}, speedup ${number(result.speedup)}x against this engine with k = 0` : ", not finished"}`,
      "",
      words.paper,
    ].join("\n");
  }

  const recordedWhere = (head) =>
    head?.machine ? `${head.date}, ${head.machine}, ${words.cores(head.cores)}` : words.nowhere;

  Object.assign(window.EESD, { Takeaway, recordedWhere });
})();

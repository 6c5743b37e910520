// Exports of the run on the page: its trace, one offline file, tables, charts, a link, and a citation. A saved trace can also be opened here.
import { citation } from "../lib/citation.js";
import { button, dialog, el, panelHead, setText } from "../lib/elements.js";
import { csv, html, ndjson, perfetto } from "../lib/exports.js";
import { foreign } from "../lib/foreign.js";
import { wantsLessMotion } from "../lib/frames.js";
import { plotly } from "../lib/plotly.js";
import { FORMAT, MOST_BYTES, parse } from "../lib/trace.js";
import { say } from "../lib/words.js";

const words = say.takeaway;
const KINDS = {
  trace: ["ndjson", "application/x-ndjson", ndjson],
  csv: ["csv", "text/csv", csv],
  perfetto: ["perfetto.json", "application/json", perfetto],
};
const MOST_LINK = 60_000; // characters: servers accept no longer address
const MOST_CODE = 1000; // characters: cameras cannot read a larger QR code off a screen
const today = () => new Date().toISOString().slice(0, 10);

function named(name, act) {
  const [label, title] = words[name];
  return button(label, act, `t-${name}`, { title });
}

function download(name, href) {
  const anchor = el("a", { href, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
}

// `page`: {facts, template, link, qr, lecture}, which only a page with a server has.
export class TakeAway {
  constructor(view, page = null) {
    Object.assign(this, { name: "takeAway", view, page });
    this.line = el("p", { class: "t-line", role: "status" });
    this.picker = el("input", { type: "file", accept: ".ndjson,.jsonl,.json,.txt", class: "e-hidden", tabindex: "-1", "aria-hidden": "true" });
    this.picker.addEventListener("change", () => this.open(this.picker.files[0]));
    this.dialog = dialog("e-key-list t-dialog", {});
    const own = page ? [named("html", () => this.html())] : [];
    if (page?.lecture) own.push(named("lecture", () => download("eesd-lecture.html", page.lecture)));
    const shared = page ? [named("link", () => this.copyLink()), named("qr", () => this.qr())] : [];
    const [trace, ...tables] = Object.keys(KINDS).map((kind) => named(kind, () => this.save(kind)));
    const charts = ["svg", "png"].map((format) => named(format, () => this.pictures(format)));
    const rest = [named("cite", () => this.cite()), ...shared, named("open", () => this.picker.click())];
    const group = (...nodes) => el("span", { class: "t-group" }, ...nodes);
    const head = panelHead(words.title, group(trace, ...own, ...tables), group(...charts), group(...rest));
    this.node = el("section", { class: "e-panel t-panel", "aria-label": words.title }, head, this.line, this.picker, this.dialog);
    this.say(words.note);
  }

  say(text) {
    setText(this.line, text);
  }

  // For a live run the page itself knows date and machine.
  get trace() {
    const { records } = this.view.player.timeline;
    const head = this.view.recording ?? (this.page ? { type: "recording", format: FORMAT, date: today(), ...this.page.facts } : null);
    return records.some(({ lane }) => lane) ? { head, records } : null;
  }

  // Calls `make` with the trace, if there is one; an error becomes one line.
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
    return this.with(async (trace) => this.keep("eesd-run.html", "text/html", html(trace, await this.page.template())));
  }

  keep(name, type, text) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    download(name, url);
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    this.say(words.saved(name));
  }

  // Exports plotly's pictures, with the panel's background colour.
  pictures(format) {
    return this.with(async () => {
      this.view.drawAll(); // charts out of sight too
      const plots = [...this.view.root.querySelectorAll(".e-chart.js-plotly-plot")];
      for (const plot of plots) {
        const { clientWidth: width, clientHeight: height } = plot;
        if (!width || !height) continue;
        const ground = getComputedStyle(plot).getPropertyValue("--e-panel").trim();
        const figure = { data: plot.data, layout: { ...plot.layout, paper_bgcolor: ground } };
        const name = `eesd-${[...plot.classList].find((own) => own.startsWith("e-chart-")).slice(8)}.${format}`;
        download(name, await plotly.library.toImage(figure, { format, width, height, scale: format === "png" ? 2 : 1 }));
        this.say(words.saved(name));
        await new Promise((next) => setTimeout(next, 150)); // a browser keeps only the last of several downloads at once
      }
    });
  }

  async open(file) {
    if (!file) return;
    this.picker.value = ""; // so that the same file can be chosen again
    try {
      if (file.size > MOST_BYTES) throw new Error(words.tooLarge(MOST_BYTES / 2 ** 20));
      this.show(await file.text());
      this.say(words.opened(file.name));
    } catch (problem) {
      this.say(problem.message);
    }
  }

  // Opens a trace from its text. Throws an Error with a readable message.
  show(text) {
    const said = foreign(text); // a response of another server, as records
    const { head, records } = said ? { head: null, records: said } : parse(text);
    const recording = head ?? { type: "recording", format: FORMAT };
    this.view.open(ndjson({ head: recording, records }), wantsLessMotion() ? "over" : "playing");
    this.onOpen?.(recording, records);
  }

  // ---- link ----

  copyLink() {
    const link = this.page.link();
    if (link.length > MOST_LINK) this.say(words.tooLongToLink);
    else this.copy(link);
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
    if (link.length > MOST_CODE) return this.say(words.linkTooLong);
    this.tell(words.qr[0], link, "", el("img", { class: "t-qr", src: this.page.qr(link), alt: words.qr[1], width: 260, height: 260 }));
  }

  cite() {
    return this.with((trace) => this.tell(words.cite[0], citation(trace), ""));
  }

  tell(title, text, note, ...more) {
    const copy = button(words.copy, () => this.copy(text));
    const close = button(words.close, () => this.dialog.close());
    const quoted = el("pre", { class: "t-text", tabindex: "0" }, text);
    this.dialog.replaceChildren(el("h2", {}, title), ...more, quoted, el("p", {}, note), copy, " ", close);
    if (!this.dialog.open) this.dialog.showModal();
  }
}

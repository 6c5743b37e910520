// The page around the view: plotly.js, keys, the theme button, and what the form's buttons mean to the browser.
(() => {
  "use strict";
  const EESD = window.EESD;
  const button = (id) => document.getElementById(id);
  const SAID = ["title", "aria-label", "placeholder", "alt"]; // attributes that people hear or read
  const update = (interactive) => ({ __type__: "update", interactive });

  EESD.plotlyIsComing = true;

  EESD.page = {
    attach(element) {
      if (this.view?.root === element) return this.view;
      element.addEventListener("eesd-source", ({ detail }) => (document.documentElement.dataset.source = detail ? "recorded" : "live"));
      const link = () => this.address;
      this.view = EESD.attach(element, { toolbar: document.querySelector(".eesd-tools"), link });
      this.translate();
      element.addEventListener("eesd-source", ({ detail }) => this.sayWhere(detail));
      this.takeaway = new EESD.Takeaway(this.view, this.behind);
      this.takeaway.onOpen = () => button("stop").click(); // nobody watches that run any more
      this.runs = new EESD.Runs(this.view);
      element.append(new EESD.WhatIf(this.view).node, this.runs.node, ...this.studyPanels(), this.takeaway.node);
      this.followPrecision();
      this.show().then(() => EESD.soon(() => EESD.soon(() => this.loadPlotly())));
      if (this.refused) this.takeaway.say(this.refused);
      return this.view;
    },

    // The recorded race, or the view that the address asks for.
    async show() {
      const { view } = this;
      const [source, round, at, speed] = EESD.link.read(EESD.link.VIEW, window.location.search).values;
      view.scrubber.setSpeed(speed ?? 1);
      if (source === "live") view.reset();
      else await this.showRecorded(at);
      if (round) view.choose(round); // where there is no run yet: of the run to come
    },

    async showRecorded(at) {
      const { view } = this;
      const text = await EESD.unpack(this.opening);
      if (view.stream.consumed) return; // somebody was faster and pressed Run
      view.open(text, at === undefined ? this.start : "paused");
      this.recorded = view.recording;
      if (at !== undefined) view.player.seek(at);
    },

    // Where there is an engine behind the page (`studies`), what else it can do. The test of distributions stands beside the lossless panel.
    studyPanels() {
      const at = (name) => new URL(`gradio_api/eesd/${name}`, document.baseURI).href;
      const form = () => Object.fromEntries(this.form.map(({ name }, i) => [name, this.values?.[i] ?? null]));
      const benchmark = new EESD.BenchmarkPanel({ at, form: () => ({ quantize: form().quantize }), live: this.studies });
      if (this.studies) this.view.lossless.node.after(new EESD.LawTest(this.view, { path: at("law"), form }).node);
      return [benchmark.node];
    },

    // The title says of a live run in what precision it was made and what was promised: the visitor may have chosen another than the host's,
    // or another rule.
    followPrecision() {
      const draw = this.view.draw.bind(this.view);
      this.view.draw = () => {
        draw();
        this.runs.draw();
        const run = !this.view.recording && this.view.player.timeline.records.find(({ type }) => type === "run_started");
        const { level, device, dtype } = run || this.host;
        const [name, hint] = this.levels[level];
        EESD.setText(document.querySelector(".eesd-where-live"), `${device} ${dtype}`);
        EESD.setText(document.querySelector(".eesd-level > b"), this.said(name));
        EESD.setText(document.querySelector(".eesd-level .eesd-hint"), this.said(hint));
      };
    },

    said: (text) => EESD.words.page.form[text] ?? text,

    // What the page has and an offline file has not: a form, and a server behind it.
    get behind() {
      const at = (path) => new URL(path, document.baseURI).href;
      return {
        facts: this.facts,
        template: async () => {
          const answer = await fetch(at("gradio_api/eesd/offline.txt"));
          if (!answer.ok) throw new Error(answer.statusText);
          return answer.text();
        },
        link: () => this.address,
        qr: (link) => at(`gradio_api/eesd/qr.svg?link=${encodeURIComponent(link)}`),
      };
    },

    // The form's words come from the server in English: those that the language's table has are said anew, whenever Gradio draws them. The
    // view itself is left alone: it speaks the language, and a model's text is nobody's to translate.
    translate() {
      const { form, caution } = EESD.words.page;
      if (!Object.keys(form).length) return;
      const note = document.querySelector(".eesd-caution");
      if (note) EESD.setText(note, caution(note.dataset.model, note.dataset.layer));
      const isElement = (node) => node.nodeType === Node.ELEMENT_NODE;
      const isOurs = (node) => (isElement(node) ? node.closest(".eesd, script, style") : node.parentElement?.closest(".eesd, textarea, script, style"));
      const accept = (node) => (isOurs(node) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
      const say = (root) => {
        if (isOurs(root)) return;
        const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, accept);
        for (let node = root; node; node = walker.nextNode()) {
          if (isElement(node)) SAID.forEach((name) => Object.hasOwn(form, node.getAttribute(name) ?? "") && node.setAttribute(name, form[node.getAttribute(name)]));
          const text = isElement(node) ? "" : node.nodeValue.trim();
          if (text && Object.hasOwn(form, text)) node.nodeValue = node.nodeValue.replace(text, form[text]);
        }
      };
      say(document.body);
      const changes = { childList: true, characterData: true, subtree: true, attributeFilter: SAID };
      new MutationObserver((list) => list.forEach(({ target }) => say(target))).observe(document.body, changes);
    },

    // Where the recorded run on the page was made.
    sayWhere(recording) {
      if (recording) EESD.setText(document.querySelector(".eesd-where"), EESD.recordedWhere(recording));
    },

    // The form's first values, but for those that the address asks for.
    fromLink(values) {
      const { values: asked, refused } = EESD.link.read([...this.form, ...EESD.link.VIEW], window.location.search);
      this.refused = refused.length ? EESD.words.takeaway.refused(refused.join(", ")) : "";
      if (this.refused) this.takeaway?.say(this.refused);
      return this.remember(values.map((value, i) => asked[i] ?? value));
    },

    // What stands in the form now: fields that are folded away are not on the page, so they cannot be read there.
    remember(values) {
      return (this.values = values);
    },

    // This page with all that stands in the form, and the view.
    get address() {
      const values = [...this.form.map((_, i) => this.values?.[i]), ...EESD.link.viewOf(this.view, this.recorded)];
      return EESD.link.write([...this.form, ...EESD.link.VIEW], values, window.location.href);
    },

    // How the recorded race begins: playing, unless the address says ?paused=1 or the visitor wants less motion.
    get start() {
      if (new URLSearchParams(window.location.search).get("paused") === "1") return "paused";
      return window.matchMedia("(prefers-reduced-motion: reduce)").matches ? "over" : "playing";
    },

    // Behind the first frames: to fetch and read it takes longer than all else together, and nothing but charts waits for it.
    loadPlotly() {
      const script = EESD.el("script", { src: new URL(this.plotly, document.baseURI).href });
      script.onerror = () => (EESD.plotlyIsComing = false);
      script.async = true;
      document.head.append(script);
    },

    // New values for Run and Stop.
    buttons: (running) => [update(!running), update(running)],

    // Stops a run and clears the stage; returns the form's first values.
    reset(values) {
      button("stop").click(); // does nothing when it is disabled: no run
      this.view?.dismiss();
      this.remember(values.slice(0, this.form.length));
      return values;
    },
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented) return;
    const inPrompt = event.target.closest?.("#prompt");
    const { presenting, tour } = EESD.page.view ?? {}; // Escape leaves these first
    const inList = event.target.getAttribute?.("aria-expanded") === "true"; // Escape closes an open list first
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && inPrompt) button("run")?.click();
    else if (event.key === "Escape" && !inList && !presenting && !tour?.open) button("stop")?.click();
  });

  // The address keeps the theme, so that a reload or a copied link has it too.
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#theme")) return;
    const dark = document.body.classList.toggle("dark");
    const url = new URL(window.location);
    url.searchParams.set("__theme", dark ? "dark" : "light");
    window.history.replaceState(null, "", url);
  });
})();

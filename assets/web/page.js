// The page around the view: plotly.js, keys, the theme button, and what the form's buttons mean to the browser.
(() => {
  "use strict";
  const EESD = window.EESD;
  const button = (id) => document.getElementById(id);
  const update = (interactive) => ({ __type__: "update", interactive });

  EESD.page = {
    attach(element) {
      if (this.view?.root === element) return this.view;
      element.addEventListener("eesd-source", ({ detail }) => (document.documentElement.dataset.source = detail ? "recorded" : "live"));
      this.view = EESD.attach(element);
      this.view.open(this.opening, this.start);
      return this.view;
    },

    // How the recorded race begins: playing, unless the address says ?paused=1 or the visitor wants less motion.
    get start() {
      if (new URLSearchParams(window.location.search).get("paused") === "1") return "paused";
      return window.matchMedia("(prefers-reduced-motion: reduce)").matches ? "over" : "playing";
    },

    // Charts may come late; nothing waits for them.
    loadPlotly(src) {
      const script = EESD.el("script", { src });
      EESD.plotlyIsComing = true;
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
      return values;
    },
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented) return;
    const inPrompt = event.target.closest?.("#prompt");
    const inList = event.target.getAttribute?.("aria-expanded") === "true"; // Escape closes an open list first
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && inPrompt) button("run")?.click();
    else if (event.key === "Escape" && !inList) button("stop")?.click();
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

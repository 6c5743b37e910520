// The small buttons beside the title: tour, glossary, presenter mode, language; and the way out of presenter mode.
(() => {
  "use strict";
  const { el, language, words: { page: words } } = window.EESD;

  class Toolbar {
    // `link` gives the page's address with all that stands in its form.
    constructor(view, link) {
      const button = (text, title, act) => {
        const node = el("button", { type: "button", class: "e-button", title }, text);
        node.addEventListener("click", act);
        return node;
      };
      this.tour = button(words.tour, words.tourHint, () => view.tour.toggle());
      this.language = button(words.language, words.languageHint, () => window.location.assign(this.inOtherLanguage(link)));
      this.language.lang = language.now === "en" ? "zh-CN" : "en";
      this.node = el("div", { class: "e-toolbar" }, this.tour,
        button(words.glossary, words.glossaryHint, () => view.dialogs.glossary.showModal()),
        button(words.present, words.presentHint, () => view.present(true)), this.language);
      this.leave = el("button", { type: "button", class: "e-button e-leave", hidden: "" }, words.leave);
      this.leave.addEventListener("click", () => view.present(false));
    }

    // This page again, in the other language and with what stands in the form.
    inOtherLanguage(link) {
      const url = new URL(link?.() ?? window.location.href);
      const theme = new URLSearchParams(window.location.search).get("__theme");
      if (theme) url.searchParams.set("__theme", theme);
      url.searchParams.set("lang", language.other());
      return url.href;
    }
  }

  window.EESD.Toolbar = Toolbar;
})();

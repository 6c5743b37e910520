// The small buttons beside the title: tour, glossary, presenter mode, language; and the one that ends presenter mode.
import { button, el } from "../lib/elements.js";
import { language, say } from "../lib/words.js";

const words = say.page;

export class Toolbar {
  constructor(view) {
    this.name = "toolbar";
    this.view = view;
    this.tour = button(words.tour, () => view.panels.tour.toggle(), "", { title: words.tourHint });
    const spoken = { title: words.languageHint, lang: language.codes[language.other] };
    this.node = el(
      "div",
      { class: "e-toolbar" },
      this.tour,
      button(words.glossary, () => view.panels.glossary.open(), "", { title: words.glossaryHint }),
      button(words.present, () => view.present(true), "", { title: words.presentHint }),
      button(words.language, () => window.location.assign(this.inOtherLanguage()), "", spoken),
    );
    this.leave = button(words.leave, () => view.present(false), "e-leave", { hidden: "" });
    view.root.append(this.leave);
  }

  draw() {
    this.tour.disabled = this.view.stage.hidden;
    this.leave.hidden = !this.view.presenting;
  }

  // The address of this page in the other language, with the form's values.
  inOtherLanguage() {
    const url = new URL(this.view.options.link?.() ?? window.location.href);
    const theme = new URLSearchParams(window.location.search).get("__theme");
    if (theme) url.searchParams.set("__theme", theme);
    url.searchParams.set("lang", language.other);
    return url.href;
  }
}

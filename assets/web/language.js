// Which language the page speaks. A translation is laid over the table that everybody reads (EESD.words), in place, before anything is built.
(() => {
  "use strict";
  const EESD = window.EESD;
  const CODES = { en: "en", zh: "zh-CN" };
  const isTable = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

  function fill(table, values) {
    for (const [name, value] of Object.entries(values)) {
      if (isTable(value) && isTable(table[name])) fill(table[name], value);
      else table[name] = value;
    }
  }

  EESD.language = {
    now: "en",
    names: [...Object.keys(CODES), ...Object.values(CODES)],
    other: () => (EESD.language.now === "en" ? "zh" : "en"),
    saved: "", // the language of the page that an offline file was saved from
    // What the address asks for: "zh" and "zh-CN" of ?lang=; anything unknown is English.
    speak() {
      const name = (new URLSearchParams(window.location.search).get("lang") ?? EESD.language.saved).slice(0, 2).toLowerCase();
      if (!Object.hasOwn(CODES, name)) return;
      fill(EESD.words, EESD.translations[name] ?? {});
      EESD.language.now = name;
      document.documentElement.lang = CODES[name];
    },
  };
})();

// The language of the page, chosen once when it loads. `say` holds all its words; missing translations stay English.
import { en } from "../words/en/index.js";
import { zh } from "../words/zh/index.js";

const CODES = { en: "en", zh: "zh-CN" };

// The language in the address (?lang=zh or zh-CN), else that of the file. Anything unknown is English.
function asked() {
  const name = (new URLSearchParams(window.location.search).get("lang") ?? document.documentElement.lang).slice(0, 2).toLowerCase();
  return Object.hasOwn(CODES, name) ? name : "en";
}

const isTable = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function merge(table, translation) {
  const own = { ...table };
  for (const [name, value] of Object.entries(translation)) own[name] = isTable(value) && isTable(table[name]) ? merge(table[name], value) : value;
  return own;
}

const now = asked();
document.documentElement.lang = CODES[now];

export const language = { now, other: now === "en" ? "zh" : "en", codes: CODES, names: [...Object.keys(CODES), ...Object.values(CODES)] };
export const say = now === "zh" ? merge(en, zh) : en;

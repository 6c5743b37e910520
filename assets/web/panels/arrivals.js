// What the server is still loading or fetching, in the title bar. The page need not be reloaded.
import { el, setText } from "../lib/elements.js";
import { say } from "../lib/words.js";

const words = say.arrivals;
const EVERY = 2000; // milliseconds between two requests

// Models of one file arrive together: told as one.
function merged(models) {
  const found = new Map();
  for (const { model, ...rest } of models) {
    const key = JSON.stringify(rest);
    found.set(key, found.has(key) ? { ...rest, model: `${found.get(key).model}, ${model}` } : { ...rest, model });
  }
  return [...found.values()];
}

export class Arrivals {
  // `at`: the address of the server's list of models; `waiting`: names of models that were missing when the page was made; `host`: the server's
  // own model, whose `level` is null until it is loaded; `loaded(host)` is called then.
  constructor({ at, waiting, host, loaded }) {
    Object.assign(this, { at, waiting, isLoading: !host.level, onLoaded: loaded });
    this.node = el("span", { class: "eesd-chip eesd-arrivals", role: "status" });
    if (!waiting.length && !this.isLoading) return;
    document.querySelector(".eesd-tools")?.before(this.node);
    this.look();
  }

  async look() {
    const models = await this.ask();
    if (models) this.show(models);
    if (!models || this.isLoading || this.told(models).some(({ state }) => state === "fetching")) setTimeout(() => this.look(), EVERY);
  }

  show(models) {
    const [host] = models;
    if (this.isLoading && host.state === "ready") {
      this.isLoading = false;
      this.onLoaded(host);
    }
    setText(this.node, merged(this.told(models)).map(words.state).join("; "));
    this.node.hidden = !this.node.textContent;
  }

  // What the page tells of: nothing is fetched before the server's own model is loaded.
  told(models) {
    return models.filter(({ model }, i) => (this.isLoading ? i === 0 : this.waiting.includes(model)));
  }

  // All models, the server's own first; null or false if the server does not answer.
  async ask() {
    try {
      const answer = await fetch(this.at);
      return answer.ok && (await answer.json());
    } catch {
      return null;
    }
  }
}

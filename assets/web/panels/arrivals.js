// Download progress, in the title bar, of models that the server is still fetching. The page need not be reloaded.
import { el, setText } from "../lib/elements.js";
import { say } from "../lib/words.js";

const words = say.arrivals;
const EVERY = 2000; // milliseconds between two requests

export class Arrivals {
  // `at`: the address of the server's list of models; `waiting`: names of models that were missing when the page was made.
  constructor({ at, waiting }) {
    Object.assign(this, { at, waiting });
    this.node = el("span", { class: "eesd-chip eesd-arrivals", role: "status" });
    if (!waiting.length) return;
    document.querySelector(".eesd-title > p")?.before(this.node);
    this.look();
  }

  async look() {
    const models = await this.ask();
    if (models) setText(this.node, models.map(words.state).join("; "));
    if (!models || models.some(({ state }) => state === "fetching")) setTimeout(() => this.look(), EVERY);
  }

  // The models waited for; null or false if the server does not answer.
  async ask() {
    try {
      const answer = await fetch(this.at);
      return answer.ok && (await answer.json()).filter(({ model }) => this.waiting.includes(model));
    } catch {
      return null;
    }
  }
}

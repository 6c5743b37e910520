// Models that the server is still fetching: how far each is, in the title bar, until it is there. The page need not be loaded again.
import { el, setText } from "../lib/elements.js";
import { say } from "../lib/words.js";

const words = say.arrivals;
const EVERY = 2000; // milliseconds between two looks

export class Arrivals {
  // `at`: the address of the server's list of models; `waiting`: names of those that were not there when the page was made.
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

  // Those that were waited for; nothing while the server does not answer.
  async ask() {
    try {
      const answer = await fetch(this.at);
      return answer.ok && (await answer.json()).filter(({ model }) => this.waiting.includes(model));
    } catch {
      return null;
    }
  }
}

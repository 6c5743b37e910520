// Reads the growing text of a run: each complete new line becomes an object, once.
import { say } from "./words.js";

export class Stream {
  constructor() {
    this.reset();
  }

  reset() {
    this.consumed = "";
    this.lines = 0;
  }

  // Forgets the run: whatever still arrives of it, recognised by its first line, is ignored.
  dismiss() {
    this.dismissed = this.consumed.split("\n", 1)[0];
    this.reset();
  }

  isDismissed(text) {
    return Boolean(this.dismissed) && text.startsWith(this.dismissed);
  }

  // A text that does not begin with what was consumed belongs to another run.
  isNewRun(text) {
    return !text.startsWith(this.consumed);
  }

  // The last line may be incomplete; it is read once its newline is there.
  read(text) {
    const end = text.lastIndexOf("\n") + 1;
    if (end <= this.consumed.length) return [];
    const fresh = text.slice(this.consumed.length, end);
    this.consumed = text.slice(0, end);
    return fresh
      .split("\n")
      .slice(0, -1)
      .map((line) => this.parse(line))
      .filter(Boolean);
  }

  parse(line) {
    this.lines += 1;
    if (!line.trim()) return null;
    try {
      return JSON.parse(line);
    } catch {
      return { type: "error", message: say.race.broken(this.lines) };
    }
  }
}

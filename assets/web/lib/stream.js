// The growing text of a run, read once: complete new lines become objects.
import { say } from "./words.js";

export class Stream {
  constructor() {
    this.reset();
  }

  reset() {
    this.consumed = "";
    this.lines = 0;
  }

  // Forget the run: what still arrives of it (its first line names it) is not read.
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

  // The last line may be half there; it waits for its newline.
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

Stream = Stream;

// The status of a run and how it ended, in words.
import { say } from "./words.js";

const words = say.race;

// The verdict: are the two texts the same?
export function verdictOf(state) {
  const { verdict } = say;
  if (state.phase === "cancelled") return verdict.stopped(state.stopped);
  if (!state.result) return "";
  const { identical, level, first_difference: fork } = state.result;
  if (level === "same-distribution") return verdict.same;
  if (fork) return verdict.fork(fork.position + 1, fork.margin);
  return identical ? verdict.identical(state.lanes.eesd.written, level) : verdict.differ;
}

export function waiting({ place, seconds: wait, loading }) {
  if (place) return loading === undefined ? words.waiting(place, wait) : words.waitingForWeights(place, loading);
  return loading === undefined ? words.preparing : words.loading(loading);
}

const progress = ({ round, written }) => (round ? words.progress(round.number, written) : words.preparing);

export function statusOf(state) {
  const { phase } = state;
  if (phase === "queued") return waiting(state.queue);
  if (phase === "running") return progress(state.lanes.eesd);
  return verdictOf(state) || (phase === "finished" ? words.finished : "");
}

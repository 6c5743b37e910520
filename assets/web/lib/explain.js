// A round in six steps, as words and numbers: a pure function of a lane's state. What the trace does not contain is left out.
import { isBeta, meanOf } from "./beta.js";
import { say } from "./words.js";

const words = say.microscope;
const drafts = (round) => round.tokens.slice(0, round.drafts.length);

// Why a round ended. Where the coin said stop at the last place that there was room for, the coin is named, and not the room too.
export const reasonOf = ({ stop, decisions }) =>
  ["limit", "length"].includes(stop) && decisions.at(-1)?.terms.chi === 0 ? "controller" : stop;

// If a round ended although the controller would have gone on, the reason is named.
export const decided = ({ go, terms }, reason) => (go ? say.why.go : (terms.chi !== 0 && say.why.ended[reason]) || say.why.stop);

// Each step: whether it has happened, a note, formulas with the numbers filled in, and a row for every token it is about.
const step = (done, note, formulas, rows = []) => ({ done, note, formulas: formulas.filter(Boolean), rows });
const row = (token, text) => ({ token, text });

function draw(round) {
  const { posterior } = round;
  const thetas = round.decisions.map(({ terms }) => terms.theta).filter(Number.isFinite);
  const drawn = thetas.length ? words.draw.drawn(thetas) : "";
  const { alpha, beta, arms = [], controller, length } = posterior;
  if (isBeta(posterior) || arms.length) {
    const belief = isBeta(posterior) ? [words.draw.belief(alpha, beta), words.draw.mean(alpha, beta)] : [];
    return step(true, words.draw.note, [...belief, ...arms.map(words.draw.arm), drawn]);
  }
  if (controller === "fixed") return step(true, "", [words.draw.fixed(length)]);
  return step(
    true,
    words.draw.none,
    numbersOf(posterior).map((name) => words.draw.number(name, posterior[name])),
  );
}

const numbersOf = (posterior) => Object.keys(posterior).filter((name) => Number.isFinite(posterior[name]));

// The drafter's name without its settings; older traces do not name it.
const drafterOf = (settings) => settings?.drafter?.split(":")[0] || "early-exit";

function draft(round, settings) {
  const seconds = round.outcome?.draft_seconds;
  const count = round.drafts.length;
  if (round.outcome && !count) return step(true, words.draft.none, []);
  const time = round.outcome ? words.draft.time(seconds, count) : "";
  return step(
    count > 0,
    `${say.drafters.own[drafterOf(settings)]?.[0] ?? ""} ${words.draft.note}`.trim(),
    [time],
    drafts(round).map((token) => row(token, words.draft.token(token))),
  );
}

function stop(round) {
  if (round.outcome && !round.decisions.length) return step(true, words.stop.reason.none, []);
  const text = (decision) => words.stop.token(decision.terms, decided(decision, round.stop));
  const rows = round.decisions.map((decision, i) => row(round.tokens[i], text(decision))); // the controller is asked about the spine
  return step(Boolean(round.stop ?? round.outcome), words.stop.note, [words.stop.reason[reasonOf(round)]], rows);
}

function verify(round, settings) {
  const { outcome } = round;
  const note = `${settings?.exit_after === 0 ? words.verify.whole : words.verify.shared} ${words.verify.note}`;
  if (!outcome) return step(false, note, []);
  const text = (token) => (token.state === "untested" ? words.verify.untested : words.verify.token(token));
  const rows = drafts(round).map((token) => row(token, text(token)));
  return step(true, note, [words.verify.time(outcome.verify_seconds, outcome.drafted)], rows);
}

function ruleOf({ temperature, acceptance } = {}) {
  if (temperature === 0) return "greedy";
  return acceptance ?? "shared-noise";
}

function accept(round, settings) {
  const { outcome } = round;
  const note = words.accept.notes[ruleOf(settings)];
  if (!outcome) return step(false, note, []);
  const { accept_probabilities: chances, uniforms } = outcome;
  const text = (token, i) => {
    if (token.state === "untested") return words.accept.untested;
    if (chances) return words.accept.chance({ p: token.target, q: token.draft, chance: chances[i], u: uniforms[i] });
    return token.state === "accepted" ? words.accept.same : words.accept.other;
  };
  const next = round.tokens[round.drafts.length];
  const rows = drafts(round).map((token, i) => row(token, text(token, i)));
  if (next) rows.push(row(next, words.accept.next[outcome.next_kind](next.target)));
  return step(true, note, [next ? "" : words.accept.end], rows);
}

function learn(round) {
  const { posterior: before, learned: after, outcome } = round;
  const { arms = [] } = before;
  if (outcome && !round.decisions.length) return step(true, words.learn.nothing, []);
  if (!isBeta(before) && !arms.length) return learnNumbers(before, after);
  if (!after) return step(false, words.learn.note, []);
  const moved = arms.map((arm, i) => movedArm(arm, after.arms[i]));
  return step(true, words.learn.note, [...(isBeta(before) ? counted(before, after, outcome) : []), ...moved]);
}

// For a controller without a Beta posterior: the numbers that changed.
function learnNumbers(before, after) {
  const moved = after ? numbersOf(before).filter((name) => before[name] !== after[name]) : [];
  return step(
    Boolean(after),
    moved.length ? "" : words.learn.nothing,
    moved.map((name) => words.learn.moved(name, before[name], after[name])),
  );
}

// A line for an arm that changed; an empty one, which is not shown, for an arm that did not.
function movedArm(before, after) {
  return before.alpha === after.alpha && before.beta === after.beta ? "" : words.learn.arm(before, after);
}

// A count that only grew is shown as a sum; a controller that forgets changes its counts otherwise.
function counted(before, after, { accepted, rejected }) {
  const isSum = (name, added) => Math.abs(before[name] + added - after[name]) < 1e-9;
  return [
    isSum("alpha", accepted) ? words.learn.alpha(before.alpha, accepted, after.alpha) : words.learn.moved("α", before.alpha, after.alpha),
    isSum("beta", rejected) ? words.learn.beta(before.beta, rejected, after.beta) : words.learn.moved("β", before.beta, after.beta),
    words.learn.mean(meanOf(before), meanOf(after)),
  ];
}

function why(round) {
  const { outcome, stop: reason, posterior, decisions } = round; // hindsight asks whether there was room
  const count = decisions.length;
  if (!reason && !outcome) return words.why.drafting(count);
  const said = because(reasonOf(round) ?? "none", count, posterior, decisions.at(-1)?.terms);
  const isTree = round.drafts.length > count;
  const later = isTree ? words.why.tree : hindsight;
  return [said, outcome && count ? later(outcome, reason) : ""].filter(Boolean).join(" ");
}

function because(reason, count, { controller }, terms) {
  if (controller === "fixed" && (reason === "controller" || reason === "limit")) return words.why.fixed(count);
  if (reason !== "controller") return words.why[reason](count);
  const isCoin = Number.isFinite(terms.theta) && Number.isFinite(terms.u);
  return isCoin ? words.why.coin(count, terms) : words.why.controller(count, terms);
}

// If the text ended there, a longer draft could not have gained anything.
function hindsight({ accepted, drafted }, reason) {
  if (accepted < drafted) return words.why.wrong(accepted, drafted - accepted);
  return ["length", "eos", "stop"].includes(reason) ? "" : words.why.right;
}

// Another program reports counts only, not what was drafted or drawn.
const told = (lane, { outcome }) => ({
  why: words.why.told(lane.foreign, outcome.drafted, outcome.accepted),
  steps: words.steps.map(() => step(false, words.notSaid, [])),
});

export const explain = (lane, round) => (round.told ? told(lane, round) : ours(lane, round));

const ours = (lane, round) => ({
  why: why(round),
  steps: [draw(round), draft(round, lane.settings), stop(round), verify(round, lane.settings), accept(round, lane.settings), learn(round)],
});

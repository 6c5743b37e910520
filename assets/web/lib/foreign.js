// Turns responses of vLLM and llama.cpp into the records of a trace. eesd_core/foreign does the same in Python, field by field, and a test
// compares the two. Figures from elsewhere are hostile until they have been checked here; what a response does not say stays null.
import { FORMAT, MOST_BYTES, MOST_TOLD } from "./trace.js";
import { say } from "./words.js";

const MOST = 1_000_000; // tokens of a text
const NEAR = 1e-3; // largest difference between a reported share and the one computed from the counts
const SPOKEN = new Set(["finish_reason", "stop_reason"]);

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isNumber = (value) => typeof value === "number" && Math.abs(value) < 2 ** 53;
const isWhole = (value) => isNumber(value) && Number.isInteger(value);
const sum = (values) => values.reduce((total, value) => total + value, 0);

function need(right, otherwise) {
  if (!right) throw new Error(otherwise);
}

// The responses in a text: one object, a list, one per line, or a stream as it was sent. Null if the text is a trace.
function repliesIn(text) {
  let replies;
  try {
    const value = JSON.parse(text);
    replies = Array.isArray(value) ? value : [value];
  } catch {
    const lines = text
      .split(/\r?\n/)
      .map((line) => line.trim())
      .filter(Boolean);
    const sent = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
    if (!sent.length && isRecord(lines[0])) return null;
    replies = sent.length ? [joined(sent.filter((line) => line !== "[DONE]").map((line) => JSON.parse(line)))] : lines.map((line) => JSON.parse(line));
  }
  need(replies.length && replies.every(isObject), "it is no JSON object");
  return replies.length === 1 && "type" in replies[0] ? null : replies;
}

// Whether a first line belongs to a trace: anything that is not a response.
function isRecord(line) {
  try {
    const value = JSON.parse(line);
    return !isObject(value) || "type" in value;
  } catch {
    return true;
  }
}

// Joins the chunks of a stream into one response.
function joined(chunks) {
  let reply = {};
  const [texts, ids] = [[], []];
  for (const chunk of chunks) {
    need(isObject(chunk), "a part of the stream is no JSON object");
    const choice = choiceOf(chunk);
    texts.push(textOf(chunk, choice));
    ids.push(numbers(choice.token_ids ?? chunk.tokens, "token_ids") ?? []);
    const said = Object.entries(choice).filter(([name, value]) => SPOKEN.has(name) && value !== null);
    const rest = Object.entries(chunk).filter(([name, value]) => name !== "choices" && value !== null);
    reply = { ...reply, ...Object.fromEntries(rest), choices: [{ ...reply.choices?.[0], ...Object.fromEntries(said) }] };
  }
  Object.assign((reply.choices ??= [{}])[0], { text: texts.join("") }, ids.some((some) => some.length) ? { token_ids: ids.flat() } : {});
  return reply;
}

function toldBy(reply) {
  const { metrics, timings } = reply;
  if (isObject(metrics) && isObject(metrics.speculative_decoding)) return byVllm(reply, metrics);
  if (isObject(timings)) return byLlamaCpp(reply, timings);
  throw new Error("neither is there");
}

function byVllm(reply, metrics) {
  const choice = choiceOf(reply);
  const said = metrics.speculative_decoding;
  const usage = isObject(reply.usage) ? reply.usage : {};
  const most = whole(said, "num_spec_tokens", false, MOST_TOLD);
  const tokens = { newTokens: whole(usage, "completion_tokens"), promptTokens: whole(usage, "prompt_tokens", false) };
  const promptIds = numbers(reply.prompt_token_ids ?? choice.prompt_token_ids, "prompt_token_ids") ?? [];
  const stopped = (choice.stop_reason ?? null) === null ? "eos" : "stop";
  const reasons = new Map(Object.entries({ length: "length", stop: stopped }));
  const reason = reasons.get(choice.finish_reason) ?? "unknown";
  const told = { program: "vLLM", ...tokens, promptIds, reason, prefill: null, seconds: seconds(metrics, "generation_time_ms"), ...named(reply, choice) };
  const [steps, accepted, drafted] = ["num_spec_steps", "num_accepted_draft_tokens", "num_draft_tokens"].map((name) => whole(said, name));
  const histogram = numbers(said.acceptance_histogram, "acceptance_histogram");
  need(accepted <= drafted, "more drafts were accepted than made");
  need(steps + accepted <= told.newTokens + MOST_TOLD, "num_spec_steps and num_accepted_draft_tokens are too many for completion_tokens");
  if (histogram) {
    need(histogram.length <= MOST_TOLD + 1, "acceptance_histogram is too long");
    need(sum(histogram) === steps, "acceptance_histogram does not add up to num_spec_steps");
    need(sum(histogram.map((n, j) => j * n)) === accepted, "acceptance_histogram does not add up to num_accepted_draft_tokens");
  }
  agree(said, "mean_acceptance_length", steps ? 1 + accepted / steps : 1);
  agree(said, "draft_acceptance_rate", drafted ? accepted / drafted : 0);
  const totals = {
    mean_acceptance_length: steps ? 1 + accepted / steps : null,
    draft_acceptance_rate: drafted ? accepted / drafted : null,
    acceptance_histogram: histogram,
    num_spec_steps: steps,
    num_accepted_draft_tokens: accepted,
    num_draft_tokens: drafted,
    num_spec_tokens: most,
  };
  return { ...told, rounds: roundsOf(said, steps, drafted, accepted), totals };
}

function roundsOf(said, steps, drafted, accepted) {
  const [drafts, hits] = ["per_step_drafted", "per_step_accepted"].map((name) => numbers(said[name], name));
  if (!drafts && !hits) return [];
  need(drafts?.length === steps && hits?.length === steps, "per_step_drafted and per_step_accepted are not of num_spec_steps");
  need(sum(drafts) === drafted && sum(hits) === accepted, "per_step_drafted and per_step_accepted do not add up");
  need(
    drafts.every((count, i) => hits[i] <= count && count <= MOST_TOLD),
    "a step accepts more than it drafts, or drafts too many",
  );
  return drafts.map((count, i) => [count, hits[i]]);
}

function byLlamaCpp(reply, timings) {
  const choice = choiceOf(reply);
  const tokens = { newTokens: whole(timings, "predicted_n"), promptTokens: whole(timings, "prompt_n", false) };
  const times = { prefill: seconds(timings, "prompt_ms"), seconds: seconds(timings, "predicted_ms") };
  const reasons = new Map(Object.entries({ limit: "length", length: "length", eos: "eos", word: "stop" }));
  const reason = reasons.get(reply.stop_type ?? choice.finish_reason) ?? "unknown";
  const [drafted, accepted] = ["draft_n", "draft_n_accepted"].map((name) => whole(timings, name, false));
  need(drafted === null || (accepted !== null && accepted <= drafted), "draft_n_accepted is missing, or more than draft_n");
  const rate = drafted ? accepted / drafted : null;
  const totals = drafted === null ? null : { num_draft_tokens: drafted, num_accepted_draft_tokens: accepted, draft_acceptance_rate: rate };
  return { program: "llama.cpp", ...tokens, ...times, promptIds: [], reason, rounds: [], totals, ...named(reply, choice) };
}

// The fields that both servers name alike.
function named(reply, choice) {
  const [model, version] = [reply.model, reply.system_fingerprint].map((text) => (typeof text === "string" ? text : ""));
  const ids = numbers(choice.token_ids ?? reply.tokens, "token_ids");
  return { model, version, text: textOf(reply, choice), ids: ids?.length ? ids : null };
}

function choiceOf({ choices }) {
  need(!Array.isArray(choices) || choices.length < 2, "it holds several texts of one request, whose figures are one");
  return Array.isArray(choices) && isObject(choices[0]) ? choices[0] : {};
}

// The text of a completion, a chat or llama.cpp's own endpoint, whole or in a chunk of a stream.
function textOf(reply, choice) {
  const inner = choice.message ?? choice.delta;
  return [choice.text, isObject(inner) ? inner.content : null, reply.content].find((part) => typeof part === "string") ?? "";
}

function whole(values, name, isNeeded = true, most = MOST) {
  const value = values[name] ?? null;
  if (value === null && !isNeeded) return null;
  need(isWhole(value) && value >= 0 && value <= most, `${name} is not a whole number from 0 to ${most}`);
  return value;
}

function positive(values, name) {
  const value = values[name] ?? null;
  need(value === null || (isNumber(value) && value >= 0), `${name} is not a number from 0 on`);
  return value;
}

function seconds(values, name) {
  const milliseconds = positive(values, name);
  return milliseconds === null ? null : milliseconds / 1e3;
}

function numbers(value, name) {
  const isThere = value !== null && value !== undefined;
  need(!isThere || (Array.isArray(value) && value.every((item) => isWhole(item) && item >= 0 && item <= MOST)), `${name} are not whole numbers from 0 on`);
  return isThere ? value : null;
}

function agree(said, name, counted) {
  const value = positive(said, name);
  need(value === null || Math.abs(value - counted) < NEAR, `${name} is not what the counts say`);
}

// vLLM's totals for these rounds: only rounds with drafts count.
function figures(rounds) {
  const own = rounds.filter(([drafted]) => drafted);
  const [drafted, accepted] = [0, 1].map((part) => sum(rounds.map((round) => round[part])));
  const most = own.reduce((best, [count]) => Math.max(best, count), -1);
  const histogram = Array.from({ length: most + 1 }, () => 0);
  for (const [, hits] of own) histogram[hits] += 1;
  return {
    mean_acceptance_length: own.length ? 1 + accepted / own.length : null,
    draft_acceptance_rate: drafted ? accepted / drafted : null,
    acceptance_histogram: histogram,
    num_spec_steps: own.length,
    num_accepted_draft_tokens: accepted,
    num_draft_tokens: drafted,
  };
}

function recordsOf(told, row) {
  const { program, model, version, promptTokens, promptIds, prefill, rounds, text, ids } = told;
  const about = { method: program, model, device: "", dtype: "", level: "", prompt: "", prompt_ids: promptIds };
  const settings = promptTokens === null ? {} : { prompt_tokens: promptTokens };
  const versions = version ? { [program]: version } : {};
  const last = { reason: told.reason, new_tokens: told.newTokens, speculative_decoding: rounds.length ? figures(rounds) : told.totals };
  const events = [
    { type: "run_started", ...about, settings, versions, special_ids: null, end_ids: null, format: FORMAT },
    ...(prefill === null ? [] : [{ type: "prefill_done", tokens: promptTokens ?? 0, seconds: prefill }]),
    ...rounds.map(([drafted, accepted], round) => ({ type: "round_told", round, drafted, accepted, ids: null, text: null, seconds: null })),
    ...(text || ids ? [{ type: "text_told", ids, text }] : []),
    { type: "run_finished", ...last },
  ];
  const t = Math.round(1e6 * (told.seconds ?? 0)) / 1e6;
  return events.map(({ type, ...event }, seq) => ({
    ...{ type, run: "foreign", lane: "eesd", row, seq, t: type === "run_finished" ? t : 0 },
    ...event,
  }));
}

// The records of another program's responses; null if the text is a trace or anything else. Throws an Error with a one-line message.
export function foreign(text) {
  if (text.length > MOST_BYTES) return null;
  try {
    return repliesIn(text)?.map(toldBy).flatMap(recordsOf) ?? null;
  } catch (problem) {
    const why = problem instanceof SyntaxError ? say.takeaway.noJson : String(problem.message).slice(0, 200);
    throw new Error(say.takeaway.noForeign(why));
  }
}

// What a run leaves behind, made in the browser from its records. eesd_core/export makes the same from a file; tests compare the two.
(() => {
  "use strict";
  const LANES = ["eesd", "vanilla"];
  const fixed = (value, digits) => (typeof value === "number" ? value.toFixed(digits) : "");
  const micro = (seconds) => Math.round(1e6 * seconds);
  const laneOf = (records, name) => records.filter(({ lane }) => lane === name);

  // One line, pure ASCII and free of "<": it can stand inside a script.
  const lineOf = (record) => `${JSON.stringify(record).replace(/[<\u007f-\uffff]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`)}\n`;
  const ndjson = ({ head, records }) => [...(head ? [head] : []), ...records].map(lineOf).join("");

  // ---- CSV: one row a round, without any text of the model ----

  const COLUMNS = [
    "lane", "round", "position", "start_s", "end_s", "draft_ms", "verify_ms", "overhead_ms", "limit", "drafted", "accepted", "rejected",
    "untested", "next", "stop", "alpha", "beta", "theta", "token_ids",
  ];

  function rowsOf(records) {
    const rows = [];
    let start = 0;
    for (const record of records) {
      const row = rows.at(-1);
      if (record.type === "round_started") {
        start = record.t;
        const { alpha, beta } = record.posterior;
        const belief = { alpha: fixed(alpha, 4), beta: fixed(beta, 4), theta: "", stop: "" };
        rows.push({ lane: record.lane, round: record.round + 1, position: record.position, limit: record.limit, start_s: fixed(start, 6), ...belief });
      } else if (record.type === "draft_token") row.theta = fixed(record.terms.theta, 4);
      else if (record.type === "draft_stopped") row.stop = record.reason;
      else if (record.type === "round_verified") {
        const { drafted, accepted, draft_seconds: draft, verify_seconds: verify } = record;
        const rejected = accepted < drafted ? 1 : 0;
        Object.assign(row, { drafted, accepted, rejected, untested: drafted - accepted - rejected, next: record.next_kind });
        const times = { draft_ms: draft, verify_ms: verify, overhead_ms: record.t - start - draft - verify };
        for (const [name, value] of Object.entries(times)) row[name] = fixed(1e3 * value, 3);
      } else if (record.type === "tokens_committed") Object.assign(row, { end_s: fixed(record.t, 6), token_ids: record.ids.join(" ") });
    }
    return rows.filter((row) => "token_ids" in row);
  }

  const csv = ({ records }) =>
    [COLUMNS, ...LANES.flatMap((lane) => rowsOf(laneOf(records, lane)).map((row) => COLUMNS.map((name) => row[name])))]
      .map((cells) => `${cells.join(",")}\n`).join("");

  // ---- Chrome trace events, for ui.perfetto.dev ----

  const PROCESSES = { eesd: 1, vanilla: 2 };
  const [DRAFT, VERIFY, CONTROLLER] = [1, 2, 3];
  const TRACKS = { eesd: [[DRAFT, "draft"], [VERIFY, "verify"], [CONTROLLER, "controller"]], vanilla: [[VERIFY, "steps"]] };

  function eventsOf(pid, records) {
    const out = [];
    const add = (ph, tid, name, ts, more) => out.push({ ph, pid, tid, name, ts, ...more });
    const slice = (tid, name, start, took, args) => add("X", tid, name || "(empty)", start, { dur: Math.max(0, took), args });
    const count = (name, now, value) => add("C", 0, name, now, { args: { [name]: value } });
    const believe = (now, { alpha, beta }) => alpha && beta && count("belief", now, alpha / (alpha + beta));
    const own = pid === PROCESSES.eesd;
    let [before, start, arrows, flow] = [0, 0, [], 0];
    const see = {
      round_started(record, now) {
        [start, arrows] = [now, []];
        believe(now, record.posterior);
      },
      draft_token({ position, probability, entropy, go, terms, text }, now) {
        slice(DRAFT, text, before, now - before, { position, q: probability, entropy, go, terms });
        arrows.push((flow += 1));
        add("s", DRAFT, "verified by", before, { id: flow, cat: "draft" });
      },
      round_verified(record, now) {
        const { round, drafted, accepted, next_kind: next, next_text: token } = record;
        const took = Math.min(micro(record.verify_seconds), now - start);
        slice(VERIFY, drafted ? `verify ${drafted + 1}` : "step", now - took, took, { round: round + 1, drafted, accepted, next, token });
        for (const id of arrows) add("f", VERIFY, "verified by", now - took, { id, cat: "draft", bp: "e" });
        if (accepted < drafted) add("i", VERIFY, "rejection", now, { s: "t", args: { draft: accepted + 1 } });
        if (!own) return;
        count("draft length", start, drafted);
        count("accepted", start, accepted);
      },
      posterior_updated(record, now) {
        believe(now, record.posterior);
      },
      tokens_committed({ round, text }, now) {
        slice(own ? CONTROLLER : VERIFY, `round ${round + 1}`, start, now - start, { text });
      },
    };
    for (const record of records) {
      const now = micro(record.t);
      see[record.type]?.(record, now);
      before = now;
    }
    return out;
  }

  function perfetto({ records }) {
    const named = (name, pid, tid, value) => ({ ph: "M", name, pid, tid, args: { name: value } });
    const traceEvents = Object.entries(PROCESSES).flatMap(([lane, pid]) => [
      named("process_name", pid, 0, `${lane}, own clock`),
      ...TRACKS[lane].map(([tid, name]) => named("thread_name", pid, tid, name)),
      ...eventsOf(pid, laneOf(records, lane)),
    ]);
    return JSON.stringify({ traceEvents, displayTimeUnit: "ms", otherData: { source: "EESD Live" } });
  }

  // ---- one offline file: the server's template, the trace filled in here ----

  const PLACE = ["<", 'script type="application/x-ndjson" id="trace">'].join(""); // in two, because this file stands in that one too
  const LANGUAGE = '<html lang="en">'; // its first place is the file's own
  const spoken = () => (EESD.language.now === "en" ? LANGUAGE : LANGUAGE.replace("en", document.documentElement.lang));
  const html = (trace, template) => template.replace(LANGUAGE, spoken()).split(PLACE).join(PLACE + ndjson(trace));

  window.EESD.exports = { ndjson, csv, perfetto, html, PLACE };
})();

import { at, chart, el, fill, number, poll, put, span } from "./page.js";

const TONES = { closed: "good", SUCCEEDED: "good", connected: "good", open: "bad", escalated: "bad", FAILED: "bad" };
const VERDICTS = { passed: ["good", "✓ PASSED"], failed: ["bad", "✗ FAILED"], inconclusive: ["action", "? INCONCLUSIVE"],
  interrupted: ["action", "INTERRUPTED"], unavailable: ["bad", "✗ BACKEND UNAVAILABLE"] };
const STATES = { ready: "Ready to start", spawning: "Switching devices on", running: "Running", stopping: "Counting and judging",
  cleanup: "Ending", stopped: "Stopped", missing: "Missing" };

const sum = (counts) => Object.values(counts || {}).reduce((a, b) => a + b, 0);
const badge = (text) => el("span", { class: "badge " + (TONES[text] || "plain") }, String(text).toLowerCase().replaceAll("_", " "));

function counts(id, found) {
  const rows = Object.entries(found || {}).sort(([a], [b]) => a.localeCompare(b));
  fill(at(id), ...(rows.length ? rows : [["none", 0]]).map(([name, count]) =>
    el("tr", {}, el("th", { scope: "row" }, name.toLowerCase().replaceAll("_", " ")), el("td", { class: "number" }, number(count)))));
}

function show(said) {
  const course = said.course || {}, last = (name) => { const of = course[name] || []; return of.length > 1 ? of[of.length - 2] : null; };  // whole seconds
  const verdict = said.verdict && said.verdict.verdict;
  const [tone, words] = verdict ? VERDICTS[verdict] || ["plain", verdict] : ["plain", STATES[said.state] || said.state];
  at("banner").className = "banner " + tone;
  put("state", verdict ? words : words + (said.state === "running" && said.phase ? ": " + said.phase : ""));
  const reason = (said.verdict && said.verdict.reason) || "";
  at("reason").hidden = !reason; put("reason", reason);
  const faults = verdict ? [] : said.faults || [];
  at("faults").hidden = !faults.length; put("faults", "Broken on purpose now: " + faults.join("; "));
  put("about", `fleetsim · ${said.scenario} · seed ${said.seed} · target ${said.target} · ${number(said.users)} users${said.workers ? ` · ${said.workers} workers` : ""}`);
  put("on", number(said.on ?? 0)); put("connected", number((said.devices || {}).connected ?? 0));
  put("attempted", number(last("attempted"))); put("acknowledged", number(last("acknowledged")));
  const p99 = last("p99_ms"); put("p99", p99 === null ? "–" : number(p99) + " ms");
  put("failures", number((said.rows || []).reduce((n, row) => n + row.failed, 0)));
  put("open", number(sum(said.alarms) - ((said.alarms || {}).closed || 0) - ((said.alarms || {}).escalated || 0)));
  put("done", `${number((said.jobs || {}).SUCCEEDED || 0)} of ${number(sum(said.jobs))}`);
  put("elapsed", span(said.elapsed_s || 0));
  counts("states", said.devices); counts("alarms", said.alarms); counts("jobs", said.jobs);
  fill(at("profiles"), ...Object.entries(said.profiles || {}).map(([name, [online, of]]) => {
    const meter = el("meter", { min: 0, max: of || 1, value: online, "aria-label": `${name}: ${online} of ${of} connected` }, number(online));
    return el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, meter), el("td", { class: "number" }, number(online) + " of " + number(of)));
  }));
  fill(at("alarms-latest"), ...(said.alarms_latest || []).toReversed().map((alarm) =>
    el("li", {}, badge(alarm.state), el("strong", {}, alarm.thing), el("span", {}, alarm.rule_id), el("span", { class: "note" }, alarm.value === null ? "" : number(alarm.value)))));
  fill(at("jobs-latest"), ...(said.jobs_latest || []).toReversed().map((job) =>
    el("li", {}, badge(job.status), el("strong", {}, job.thing), el("span", {}, job.version), el("span", { class: "note" }, job.status === "IN_PROGRESS" ? number(Math.round(job.percent)) + " %" : ""))));
  const times = course.at_s || [], line = (name, of) => ({ name, values: (course[of] || []).slice(0, times.length) });
  chart(at("chart-rate"), "messages a second", times, [line("attempted", "attempted"), line("acknowledged", "acknowledged"), line("failed", "failed")]);
  chart(at("chart-latency"), "until a message is acknowledged, ms", times, [line("p50", "p50_ms"), line("p95", "p95_ms"), line("p99", "p99_ms")], "ms");
  chart(at("chart-devices"), "devices", times, [line("on", "on"), line("connected", "connected")]);
  chart(at("chart-alarms"), "alarms open", times, [line("alarms open", "alarms_open")]);
}

poll("fleet/picture.json", 1000, show, (why) => {
  at("banner").className = "banner action"; put("state", "Locust does not answer: " + why);
});

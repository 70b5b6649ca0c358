// Every call of these pages, and what its answer is called here. Nothing else knows the API's shapes.

const said = document.querySelector('meta[name="fleetsim-base"]')?.content || "./";
export const base = new URL(said, document.baseURI);
const PATIENCE_MS = 10_000;
const PAGE = 1000;
const PAGES_MAX = 20; // in one go

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// An answer's JSON; Refused with the server's own words, or with ours when there is no answer.
async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(new URL(path, base), {
      cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE_MS), ...options,
    });
  } catch {
    throw new Refused(0, "no answer: is the sandbox still running?");
  }
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, body?.error ?? `refused: ${answer.status}`);
  return body;
}

const name = encodeURIComponent;
const send = (path, body, method = "POST") =>
  ask(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

// All pages after a place, as far as one go reaches; gives the place where the next go begins.
async function pages(path, key, after, pages_max = PAGES_MAX) {
  const found = [];
  for (let i = 0; i < pages_max; i++) {
    const page = await ask(`${path}${path.includes("?") ? "&" : "?"}after=${name(after)}&limit=${PAGE}`);
    const items = page[key];
    for (const item of items) found.push(item);
    after = page.next;
    if (items.length < PAGE) break;
  }
  return { items: found, next: after };
}

// -- who asks

export const session = () => ask("api/session");
export const enter = (token) => send("api/session", { token });
export const leave = () => ask("api/session", { method: "DELETE" });

// -- what the platform knows

export async function overview() {
  const found = await ask("api/overview");
  return {
    at: found.at_ms, total: found.total, active: found.active, healthy: found.status === "HEALTHY",
    risk: found.risk ?? {}, newest: found.newest?.events ?? 0,
  };
}

// Messages so far, by kind.
export async function counts() {
  const { received = {}, dead = {}, stored = {} } = await ask("api/counts");
  const sum = (of) => Object.values(of).reduce((a, b) => a + b, 0);
  return { received: sum(received), dead: sum(dead), stored: sum(stored), kinds: received };
}

export async function devices() {
  const { items } = await pages("api/devices", "devices", 0);
  return items.map((item) => ({
    thing: item.thing, product: item.product, last: item.last_timestamp, risk: item.risk, level: item.level,
    site: item.site_id, customer: item.customer_id,
  }));
}

// Where every vehicle was last: [thing, product, at, latitude, longitude].
export async function positions() {
  const { items } = await pages("api/latest?metrics=latitude,longitude", "rows", "");
  return items;
}

export async function device(thing, hours = 1, points = 360) {
  const found = await ask(`api/device/${name(thing)}?hours=${hours}&points=${points}`);
  return {
    thing: found.thing, product: found.state.product, last: found.state.last_timestamp, fire: found.state.fire,
    site: found.state.site_id, customer: found.state.customer_id, series: found.series, alarms: found.alarms.map(alarm),
    alerts: found.alerts, todo: found.recommendations, formulas: found.formulas, told: found.shadow,
    versions: found.versions, jobs: found.jobs,
  };
}

// The device's latest samples, oldest first.
export async function samples(thing, limit = 60) {
  const { telemetry } = await ask(`api/telemetry/${name(thing)}?limit=${limit}`);
  return telemetry.reverse().map((sample) => ({ at: sample.device_timestamp, metrics: sample.metrics }));
}

export const shadow = (thing) => ask(`api/device/${name(thing)}/shadow`);

const alarm = (said) => ({
  id: said.alarm_id, thing: said.thing, rule: said.rule_id, state: said.state, step: said.step, severity: said.severity,
  metric: said.metric, value: said.value, raised: said.raised_at_ms, closed: said.closed_at_ms,
  escalated: said.escalated_at_ms, job: said.job_id, product: said.product, about: said.about, kind: said.alarm_class,
});

export async function alarms(after) {
  const { items, next } = await pages("api/alarms", "alarms", after);
  return { items: items.map(alarm), next };
}

export const event = (said) => ({
  seq: said.seq, at: said.at_ms, kind: said.kind, thing: said.thing, alarm: said.alarm_id ?? "", detail: said.detail ?? {},
  source: said.source ?? "backend",
});

export const streamFrom = (after) => new URL(`api/stream?after=${after}`, base);

export async function events(after) {
  const { items, next } = await pages("api/events", "events", after, 5);
  return { items: items.map(event), next };
}

export const eventsOf = async (thing) =>
  (await pages(`api/events?thing=${name(thing)}`, "events", 0, 3)).items.map(event);

export async function jobs(after) {
  const { items, next } = await pages("api/jobs", "jobs", after);
  return {
    items: items.map((job) => ({
      id: job.job_id, thing: job.thing, alarm: job.alarm_id, package: job.package, version: job.version,
      status: job.status, created: job.created_ms, ended: job.ended_ms, reason: job.reason,
    })),
    next,
  };
}

export const dispatches = async () => (await pages("api/dispatches", "dispatches", 0)).items;
export const dispatch = (alarmId) => ask(`api/dispatches/${name(alarmId)}`);
export const advance = (alarmId, state, who, note) => send(`api/dispatches/${name(alarmId)}`, { state, who, note });
export const notifications = (after) => pages("api/notifications", "notifications", after);

// -- the fleet that runs here, if one does

export const run = () => ask("control/run");
export async function fleet() {
  const { fields, rows } = await ask("control/fleet");
  const at = Object.fromEntries(fields.map((field, i) => [field, i]));
  return rows.map((row) => ({
    thing: row[at.thing], profile: row[at.profile], group: row[at.group], channel: row[at.channel],
    firmware: row[at.firmware], online: row[at.online], powered: row[at.powered], faults: row[at.faults],
  }));
}

export async function kinds() {
  const { faults, commands, firmware, signals } = await ask("control/kinds");
  const list = (said) => (Array.isArray(said) ? { actions: said, settings: {} } : said);
  return { faults, firmware, signals, commands: Object.fromEntries(Object.entries(commands).map(([of, said]) => [of, list(said)])) };
}

export async function fleetEvents(after) {
  const { events: found, next } = await ask(`control/events?after=${after}&limit=${PAGE}`);
  return { items: found.map(event), next, more: found.length === PAGE };
}

export const step = (body) => send("control/steps", body);
export const end = () => send("control/end", {});

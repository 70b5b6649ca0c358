// What is known: devices, alarms, events, rates. Everything in it has a bound, and who draws it is told what changed.
import * as api from "./api.js";
import { word } from "./words.js";

const ALARMS_MAX = 2000;
const EVENTS_MAX = 2000; // of each side
const BEGIN_EVENTS = 2000; // so many of the past are read when the pages are opened
const OF_THING_MAX = 400;
const RATES_MAX = 300;
const SLOWER_MS = 10_000;
const AWAY_MS = 5 * 60_000;
const TWICE_MS = 4000; // the same of both sides within so long is one thing

export const fleet = {
  me: { role: null, customer: null },
  linked: null, // null: not known yet; false: no answer
  why: "",
  overview: null,
  devices: new Map(), // thing → what both sides know of it
  alarms: new Map(), // id → alarm, the one that changed last at the end
  open: new Map(), // thing → its open alarms
  feed: [], // what happened, of both sides, by when it did: the newest at the end
  ofThing: new Map(), // thing → its events
  rates: { times: [], received: [], dead: [] },
  jobs: new Map(), // job id and thing → how far it is
  dispatches: [],
  notifications: [],
  run: null, // the fleet that runs here; null: none
  kinds: null,
};

const watchers = new Set();
const after = { alarms: 0, events: null, fleet: 0, jobs: 0, notifications: 0 };

// Called after something changed, at most once a frame.
export function watch(draw) {
  watchers.add(draw);
  return () => watchers.delete(draw);
}

let due = false;
export function changed() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    for (const draw of [...watchers]) draw();
  });
}

// -- asking, again and again

const feeds = new Map();

// Asks every so often while somebody needs it and looks. One that fails waits longer.
function feed(name, every, read) {
  feeds.set(name, { name, every, read, needed: 0, at: 0, busy: false, wait: every, asked: 0 });
}

export function need(...names) {
  for (const name of names) {
    const one = feeds.get(name);
    one.needed++;
    one.at = 0;
  }
  turn();
  return () => {
    for (const name of names) feeds.get(name).needed--;
  };
}

export async function now(name) {
  await refresh(feeds.get(name));
}

async function refresh(one) {
  if (one.busy) return;
  one.busy = true;
  try {
    await one.read();
    one.wait = one.every;
    if (one.name === "overview") link(true);
  } catch (error) {
    if (!(error instanceof api.Refused)) console.error(error);
    one.wait = Math.min(one.wait * 2, SLOWER_MS);
    if (error.status === 401) signedOut();
    else if (one.name === "overview") link(false, error.message);
  } finally {
    one.busy = false;
    one.at = performance.now() + one.wait;
    changed();
  }
}

function turn() {
  if (document.hidden) return;
  const at = performance.now();
  for (const one of feeds.values()) if (one.needed && !one.busy && at >= one.at) refresh(one);
}

let timer = null;
export async function begin() {
  if (timer) clearInterval(timer);
  timer = null;
  try {
    fleet.me = await api.session();
  } catch (error) {
    if (error.status === 401) return signedOut();
    fleet.me = { role: "service", customer: null };
  }
  fleet.signedOut = false;
  timer = setInterval(turn, 250);
  document.addEventListener("visibilitychange", turn);
  turn();
  changed();
}

function signedOut() {
  clearInterval(timer);
  timer = null;
  fleet.signedOut = true;
  changed();
}

function link(up, why = "") {
  fleet.linked = up;
  fleet.why = why;
}

// -- what is asked for

feed("overview", 2000, async () => {
  const staff = fleet.me.role !== "customer"; // no count tells a customer of others
  const [overview, counts] = await Promise.all([api.overview(), staff ? api.counts() : null]);
  fleet.overview = overview;
  if (counts) measure(counts);
});

let counted = null;
function measure(counts) {
  const at = Date.now(), rates = fleet.rates;
  if (counted && at - counted.at < 1000) return;
  if (counted && counts.received >= counted.received) {
    const s = (at - counted.at) / 1000;
    push(rates.times, at);
    push(rates.received, (counts.received - counted.received) / s);
    push(rates.dead, (counts.dead - counted.dead) / s);
  }
  counted = { at, ...counts };
  fleet.counts = counts;
}

function push(list, value) {
  list.push(value);
  if (list.length > RATES_MAX) list.shift();
}

feed("devices", 5000, async () => {
  const found = await api.devices();
  const seen = new Set();
  for (const said of found) {
    seen.add(said.thing);
    Object.assign(known(said.thing), said, { heard: true });
  }
  for (const thing of fleet.devices.keys()) if (!seen.has(thing) && !fleet.devices.get(thing).played) fleet.devices.delete(thing);
});

function known(thing) {
  let device = fleet.devices.get(thing);
  if (!device) fleet.devices.set(thing, (device = { thing, faults: [] }));
  return device;
}

feed("alarms", 1000, async () => {
  const { items, next } = await api.alarms(after.alarms);
  after.alarms = next;
  for (const alarm of items) {
    fleet.alarms.delete(alarm.id);
    fleet.alarms.set(alarm.id, alarm);
    const open = fleet.open.get(alarm.thing)?.filter((one) => one.id !== alarm.id) ?? [];
    if (alarm.state !== "closed") open.push(alarm);
    if (open.length) fleet.open.set(alarm.thing, open);
    else fleet.open.delete(alarm.thing);
  }
  for (const [id, alarm] of fleet.alarms) {
    if (fleet.alarms.size <= ALARMS_MAX) break;
    if (alarm.state === "closed") fleet.alarms.delete(id);
    else break;
  }
});

feed("events", 1000, async () => {
  if (after.events === null) after.events = Math.max(0, ((fleet.overview ?? (await api.overview())).newest || 0) - BEGIN_EVENTS);
  if (stream) return;
  const { items, next } = await api.events(after.events);
  after.events = next;
  take(items);
  if (items.length < 1000) listen();
});

// Events as they happen. Where that cannot be had (a proxy, too many that listen), they are asked for, as before.
let stream = null, opening = false, refused = 0;
function listen() {
  if (opening || refused > 2) return;
  opening = true;
  const source = new EventSource(api.streamFrom(after.events));
  source.addEventListener("open", () => (stream = source));
  source.addEventListener("message", ({ data }) => {
    const event = api.event(JSON.parse(data));
    if (event.seq <= after.events) return;
    after.events = event.seq;
    take([event]);
    if (event.alarm) feeds.get("alarms").at = 0;
    changed();
  });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return;
    refused++;
    stream = null;
    opening = false;
  });
}

// Kept by when it happened, not by when it was heard of: the sides are asked one after the other.
function inOrder(events) {
  if (events.some((event, i) => i && event.at < events[i - 1].at)) events.sort((a, b) => a.at - b.at);
}

function take(events) {
  const touched = new Set();
  for (const event of events) {
    fleet.feed.push(event);
    if (event.thing) {
      let own = fleet.ofThing.get(event.thing);
      if (!own) fleet.ofThing.set(event.thing, (own = []));
      own.push(event);
      touched.add(own);
      follow(event);
    }
  }
  inOrder(fleet.feed);
  for (const own of touched) {
    inOrder(own);
    if (own.length > OF_THING_MAX) own.splice(0, own.length - OF_THING_MAX);
  }
  const gone = fleet.feed.length - 2 * EVENTS_MAX;
  if (gone > EVENTS_MAX / 2) {
    for (const event of fleet.feed.splice(0, gone)) {
      const own = fleet.ofThing.get(event.thing);
      if (own?.[0] === event) own.shift();
      if (own && !own.length) fleet.ofThing.delete(event.thing);
    }
  }
}

// How far a job is on a device, as the device's own events tell it.
const PHASES = {
  job_notified: "notified", download_started: "downloading", download_progress: "downloading", downloaded: "downloaded",
  verified: "verified", installed: "installed", rebooting: "rebooting", version_reported: "reported",
};

function follow(event) {
  const { kind, detail } = event;
  const id = detail.job_id ?? detail.job;
  if (!id) return;
  if (kind === "job_created") Object.assign(job(id, event.thing), { package: detail.package, version: detail.version, alarm: event.alarm, created: event.at, status: "QUEUED" });
  const one = fleet.jobs.get(`${id} ${event.thing}`) ?? (PHASES[kind] ? job(id, event.thing) : null);
  if (!one) return;
  if (PHASES[kind] && !one.ended) {
    one.phase = PHASES[kind];
    one.status = "IN_PROGRESS";
    one.created ??= event.at;
    if (detail.version) one.version ??= detail.version;
    if (Number.isFinite(detail.percent)) one.percent = detail.percent;
    else if (one.phase !== "notified" && one.phase !== "downloading") one.percent = 100;
  } else if (kind === "job_succeeded" || kind === "job_failed") {
    one.status = kind === "job_succeeded" ? "SUCCEEDED" : (detail.status ?? "FAILED");
    one.ended = Math.min(one.ended ?? Infinity, event.at);
    one.reason = detail.reason ?? one.reason;
  }
}

const JOBS_MAX = 10_000;
function job(id, thing) {
  const key = `${id} ${thing}`;
  let one = fleet.jobs.get(key);
  if (!one) {
    fleet.jobs.set(key, (one = { key, id, thing, status: "QUEUED" }));
    if (fleet.jobs.size > JOBS_MAX) fleet.jobs.delete(fleet.jobs.keys().next().value);
  }
  return one;
}

feed("jobs", 2000, async () => {
  const { items } = await api.jobs(after.jobs);
  for (const said of items) {
    const one = job(said.id, said.thing);
    const { phase, percent, status } = one;
    Object.assign(one, said);
    // The fleet's side knows sooner that it began.
    if (said.status === "IN_PROGRESS" && status !== "IN_PROGRESS") one.status = phase ? "IN_PROGRESS" : "QUEUED";
    Object.assign(one, { phase, percent });
  }
});

feed("dispatches", 2000, async () => {
  fleet.dispatches = await api.dispatches();
});

feed("notifications", 2000, async () => {
  const { items, next } = await api.notifications(after.notifications);
  after.notifications = next;
  fleet.notifications.push(...items);
  if (fleet.notifications.length > EVENTS_MAX) fleet.notifications.splice(0, fleet.notifications.length - EVENTS_MAX);
});

// The fleet's side: only the service may, and only while one runs.
feed("run", 2000, async () => {
  try {
    fleet.run = fleet.me.role === "service" ? await api.run() : null;
  } catch (error) {
    fleet.run = null;
    if (error.status === 401) throw error;
  }
  if (fleet.run && !fleet.kinds) fleet.kinds = await api.kinds();
});

feed("fleet", 2000, async () => {
  if (!fleet.run) return;
  for (const said of await api.fleet()) Object.assign(known(said.thing), said, { played: true });
});

feed("fleetEvents", 1000, async () => {
  if (!fleet.run) return;
  for (let i = 0; i < 5; i++) {
    const { items, next, more } = await api.fleetEvents(after.fleet);
    after.fleet = next;
    take(items.filter((event) => event.source !== "backend"));
    if (!more) break;
  }
});

// -- what follows from it

// The latest events worth telling, newest first. What both sides tell is told once.
export function notable(events, most) {
  const found = [], seen = new Map();
  for (let i = events.length - 1; i >= 0 && found.length < most; i--) {
    const event = events[i], key = `${event.kind} ${event.thing}`;
    if (word(event.kind).dull || Math.abs((seen.get(key) ?? Infinity) - event.at) < TWICE_MS) continue;
    seen.set(key, event.at);
    found.push(event);
  }
  return found;
}

// One word for a device: what matters most about it.
export function state(device, at = Date.now()) {
  if (fleet.open.has(device.thing)) return "alarm";
  if (device.played ? !device.online : at - (device.last ?? 0) > AWAY_MS) return "offline";
  return "online";
}

export function tally() {
  const all = { online: 0, alarm: 0, offline: 0, broken: 0, total: 0 };
  const at = Date.now();
  for (const device of fleet.devices.values()) {
    all[state(device, at)]++;
    if (device.faults.length) all.broken++;
    all.total++;
  }
  return all;
}

export const mayControl = () => fleet.run !== null && fleet.kinds !== null && fleet.me.role === "service";
export const mayDispatch = () => fleet.me.role === "service";

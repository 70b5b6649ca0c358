// One device: its curves as they come, what was asked of it and what it says, versions, jobs, alarms, what to do.
import * as api from "./api.js";
import { badge, card, h, keyed, say, setBadge } from "./dom.js";
import { curve } from "./chart.js";
import { changed, fleet, need, notable, state } from "./fleet.js";
import { actions } from "./form.js";
import { pagedTable } from "./table.js";
import { STATE_TONES, STATE_WORDS } from "./view_devices.js";
import { ALARM_TONES, ALARM_WORDS, LEVEL_TONES, detail, jobTone, low, number, quantity, span, time, unit, word } from "./words.js";

const POINTS_MAX = 900; // of a curve
const LIVE_MS = 1000;
const WHOLE_MS = 5000;
const MINUTES = [5, 15, 60];
const LATE = ["latitude", "longitude", "odometer_km", "status", "uptime_s"]; // curves that say least come last

export function open(view, [thing]) {
  const leave = need("overview", "devices", "alarms", "events", "dispatches", "fleet", "fleetEvents");
  const status = badge(""), risk = badge(""), facts = h("p", { class: "facts" });
  const todo = h("ul", { class: "todo" }), todoCard = card("What to do", todo);
  const charts = h("div", { class: "curves" }), waiting = h("p", { class: "none" }, "Waiting for its first samples.");
  let minutes = MINUTES[0];
  const window_ = h("div", { class: "choices small", role: "group", "aria-label": "How much is shown" }, MINUTES.map((n) => {
    const one = h("button", { type: "button", "aria-pressed": String(n === minutes), on: { click: () => {
      minutes = n;
      for (const each of window_.children) each.setAttribute("aria-pressed", String(each === one));
      whole();
    } } }, n < 60 ? `${n} min` : "1 h");
    return one;
  }));
  const latest = h("tbody");
  const numbers = h("details", {}, h("summary", {}, "The numbers"), h("div", { class: "scroll" }, h("table", {},
    h("caption", { class: "quiet" }, "What is shown, in numbers"),
    h("thead", {}, h("tr", {}, ["metric", "now", "least", "most"].map((name, i) => h("th", { scope: "col", class: i ? "number" : null }, name)))), latest)));
  const series = h("section", { class: "card", "aria-labelledby": "series-name" },
    h("div", { class: "head" }, h("h2", { id: "series-name" }, "Measured"), window_), charts, waiting, numbers);

  const shadowBody = h("tbody");
  const shadowCard = card("Shadow", h("div", { class: "scroll" }, h("table", {}, h("caption", { class: "quiet" }, "What was desired and what it reports"),
    h("thead", {}, h("tr", {}, ["", "desired", "reported"].map((name) => h("th", { scope: "col" }, name)))), shadowBody)));
  const noShadow = h("p", { class: "none" }, "No shadow is known.");
  shadowCard.append(noShadow);
  const versions = h("dl", { class: "pairs" }), versionCard = card("Versions", versions);

  const alarmTable = pagedTable({
    caption: "Its alarms", key: (alarm) => alarm.id, size: 10, empty: "It never had an alarm.",
    columns: [
      { name: "alarm", row: true, make: (cell, alarm) => cell.append(h("a", { href: `#/loop/${encodeURIComponent(alarm.id)}` }, alarm.rule)), draw: () => {} },
      { name: "state", make: (cell) => cell.append(badge("")), draw: (cell, alarm) => setBadge(cell.firstChild, ALARM_WORDS[alarm.state] ?? alarm.state, ALARM_TONES[alarm.state]) },
      { name: "value", number: true, draw: (cell, alarm) => say(cell, alarm.value === null || alarm.value === undefined ? "" : number(alarm.value)) },
      { name: "raised", number: true, draw: (cell, alarm) => say(cell, time(alarm.raised)) },
      { name: "open for", number: true, draw: (cell, alarm) => say(cell, span((alarm.closed ?? Date.now()) - alarm.raised)) },
    ],
  });
  const jobTable = pagedTable({
    caption: "Its jobs", key: (job) => job.id, size: 10, empty: "It never had a job.",
    columns: [
      { name: "job", row: true, draw: (cell, job) => say(cell, `${job.package ?? ""} ${job.version ?? ""}`.trim() || job.id) },
      { name: "status", make: (cell) => cell.append(badge("")), draw: (cell, job) => setBadge(cell.firstChild, low(job.status), jobTone(job.status)) },
      { name: "progress", number: true, draw: (cell, job) => say(cell, job.phase === "downloading" ? `${number(job.percent ?? 0)} %` : (job.phase ?? "")) },
      { name: "took", number: true, draw: (cell, job) => say(cell, job.created ? span((job.ended ?? Date.now()) - job.created) : "") },
    ],
  });
  const dispatchBox = h("p"), dispatchCard = card("Field engineer", dispatchBox);
  const story = h("ol", { class: "feed" }), storyCard = card("What happened to it", story);
  const nothing = h("p", { class: "none" }, "Nothing yet.");
  storyCard.append(nothing);
  let demo = null;
  const demoPlace = h("div");

  const columns = h("div", { class: "columns" }, h("div", {}, todoCard, series, card("Alarms", alarmTable.element), card("Jobs", jobTable.element)),
    h("div", {}, demoPlace, shadowCard, versionCard, dispatchCard, storyCard));
  view.append(h("div", { class: "title" }, h("h1", {}, thing), status, risk), facts, columns);

  let alive = true, about = null, document_ = null, missing = "", unheard = false, first = true;
  const curves = new Map(), data = { times: [], metrics: new Map() };

  async function whole() {
    try {
      about = await api.device(thing, 1, POINTS_MAX > 720 ? 720 : POINTS_MAX);
      missing = "";
      unheard = false;
      if (first || minutes > MINUTES[0]) merge(about.series.at_ms.map((at, i) => ({ at, metrics: Object.fromEntries(Object.entries(about.series.metrics).map(([name, values]) => [name, values[i]])) })));
      first = false;
      document_ = await api.shadow(thing).catch(() => null);
    } catch (error) {
      unheard = error.status === 404;
      missing = unheard ? "This device never said anything to the platform." : error.message;
    }
    changed();
  }

  // Samples into columns: in order, once each, no more than there is room for.
  function merge(samples) {
    const by = new Map(data.times.map((at, i) => [at, Object.fromEntries([...data.metrics].map(([name, values]) => [name, values[i]]))]));
    for (const { at, metrics } of samples) by.set(at, metrics);
    const begin = Date.now() - MINUTES.at(-1) * 60_000;
    data.times = [...by.keys()].filter((at) => at >= begin).sort((a, b) => a - b);
    // The new ones all, of the older ones every second, until they fit.
    while (data.times.length > 2 * POINTS_MAX) data.times = data.times.filter((_, i) => i > POINTS_MAX || i % 2);
    const names = new Set();
    for (const at of data.times) for (const [name, value] of Object.entries(by.get(at))) if (typeof value === "number") names.add(name);
    data.metrics = new Map([...names].map((name) => [name, data.times.map((at) => by.get(at)[name] ?? null)]));
  }

  async function live() {
    try {
      if (!document.hidden) merge(await api.samples(thing, caught ? 20 : 300));
      caught = true;
    } catch { /* what is missing is said by `whole` */ }
    if (alive) liveTimer = setTimeout(live, LIVE_MS);
    changed();
  }

  let liveTimer = null, caught = false;
  const wholeTimer = setInterval(() => document.hidden || whole(), WHOLE_MS);
  whole().then(live);

  function draw() {
    const device = fleet.devices.get(thing) ?? { thing, faults: [], last: about?.last };
    // Neither side knows it.
    const nobody = unheard && fleet.devices.size > 0 && !fleet.devices.has(thing);
    status.hidden = columns.hidden = nobody;
    if (nobody) return say(facts, "There is no device of this name.");
    const now = state(device);
    setBadge(status, STATE_WORDS[now], STATE_TONES[now]);
    const level = about?.fire?.level ?? device.level;
    risk.hidden = !level;
    if (level) setBadge(risk, `fire risk ${low(level)}${Number.isFinite(about?.fire?.risk) ? ` ${number(about.fire.risk)}` : ""}`, LEVEL_TONES[level]);
    say(facts, missing || [device.product ?? about?.product, device.channel, device.group && device.group !== device.profile ? device.group : null,
      about?.site && `site ${about.site}`, about?.customer && `customer ${about.customer}`,
      device.faults.length ? `broken on purpose: ${device.faults.join(", ")}` : null].filter(Boolean).join("  ·  "));

    const alert = about?.alerts?.find((one) => !one.resolved_ms);
    const said = [...(alert ? [alert.message] : []), ...(about?.todo ?? [])];
    todoCard.hidden = !said.length;
    keyed(todo, said.map((text, i) => ({ text, first: Boolean(alert) && i === 0 })), (one) => one.text, (one) => h("li", { class: one.first ? "first" : null }, sentence(one.text)), () => {});

    drawCurves();
    drawShadow();
    drawVersions(device);
    const alarms = [...fleet.alarms.values()].filter((alarm) => alarm.thing === thing);
    const known = new Set(alarms.map((alarm) => alarm.id));
    for (const alarm of about?.alarms ?? []) if (!known.has(alarm.id)) alarms.push(alarm);
    alarmTable.draw(alarms.sort((a, b) => b.raised - a.raised));
    const jobs = new Map((about?.jobs ?? []).map((job) => [job.job_id, { id: job.job_id, package: job.package, version: job.version, status: job.status, created: job.created_ms, ended: job.ended_ms }]));
    for (const job of fleet.jobs.values()) if (job.thing === thing) jobs.set(job.id, { ...jobs.get(job.id), ...job });
    jobTable.draw([...jobs.values()].sort((a, b) => (b.created ?? 0) - (a.created ?? 0)));
    const sent = fleet.dispatches.filter((one) => one.thing === thing).at(-1);
    dispatchCard.hidden = !sent;
    if (sent) {
      say(dispatchBox, `${low(sent.state ?? (sent.closed_at_ms ? "done" : "opened"))} since ${time(sent.updated_at_ms ?? sent.opened_at_ms)}${sent.who ? `, ${sent.who}` : ""}: ${sent.reason}`);
    }
    const told = notable(fleet.ofThing.get(thing) ?? [], 40);
    nothing.hidden = told.length > 0;
    keyed(story, told, (event) => `${event.source} ${event.seq}`, (event) => {
      const spoken = word(event.kind);
      return h("li", { class: spoken.tone }, h("time", {}, time(event.at)), h("span", { class: "mark" }, spoken.name), h("span", { class: "what" }, detail(event.detail)));
    }, () => {});
    if (!demo && device.profile && fleet.kinds) {
      demo = actions({ things: [thing], profile: device.profile }, { only: ["inject", "clear", "control", "set", "job"] });
      demoPlace.append(demo.element);
    }
    demo?.draw();
  }

  function drawCurves() {
    const end = Math.max(Date.now(), data.times.at(-1) ?? 0);
    const begin = Math.max(end - minutes * 60_000, Math.min(data.times[0] ?? end, end - 30_000)); // no empty half
    waiting.hidden = data.metrics.size > 0;
    const late = (name) => (LATE.includes(name) ? 1 : 0);
    const names = [...data.metrics.keys()].sort((a, b) => late(a) - late(b));
    const marks = [...fleet.alarms.values()].filter((alarm) => alarm.thing === thing).slice(-20)
      .flatMap((alarm) => [{ at: alarm.raised, tone: "bad" }, ...(alarm.closed ? [{ at: alarm.closed, tone: "good" }] : [])]);
    keyed(charts, names, (name) => name, (name) => {
      const one = curve(name, unit(name)), value = h("span", { class: "value" });
      const box = h("figure", {}, h("figcaption", {}, h("span", {}, quantity(name)), value), one.element);
      curves.set(name, { one, value });
      return box;
    }, (box, name) => {
      const values = data.metrics.get(name);
      const now = values.findLast((value) => value !== null);
      say(curves.get(name).value, unit(name) === "°" ? `${now.toFixed(4)}°` : `${number(now)}${unit(name) && ` ${unit(name)}`}`);
      curves.get(name).one.draw({ times: data.times, values, begin, end, marks });
    });
    if (!numbers.open) return;
    keyed(latest, names, (name) => name, (name) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number" }), h("td", { class: "number" }), h("td", { class: "number" })), (row, name) => {
      const values = data.metrics.get(name).filter((value, i) => value !== null && data.times[i] >= begin);
      say(row.children[1], number(values.at(-1)));
      say(row.children[2], number(values.reduce((a, b) => Math.min(a, b), Infinity)));
      say(row.children[3], number(values.reduce((a, b) => Math.max(a, b), -Infinity)));
    });
  }
  numbers.addEventListener("toggle", changed);

  function drawShadow() {
    const rows = [];
    if (document_) {
      const { desired = {}, reported = {} } = document_;
      for (const name of [...new Set([...Object.keys(desired), ...Object.keys(reported)])].sort()) rows.push([name, desired[name], reported[name]]);
    } else if (about?.told) {
      for (const one of about.told.desired.slice(0, 5)) {
        const answer = about.told.reported.find((other) => other.action_id === one.action_id);
        rows.push([one.action_id ?? one.at_ms, `${one.action ?? word(one.kind).name}, ${time(one.at_ms)}`, answer ? `${answer.result}, ${time(answer.at_ms)}` : undefined]);
      }
    }
    noShadow.hidden = rows.length > 0;
    shadowBody.parentElement.hidden = rows.length === 0;
    keyed(shadowBody, rows, ([name]) => name, ([name]) => h("tr", {}, h("th", { scope: "row" }, document_ ? name : ""), h("td", {}, h("code")), h("td", {}, h("code"))), (row, [, desired, reported]) => {
      say(row.children[1].firstChild, brief(desired));
      say(row.children[2].firstChild, brief(reported));
      row.classList.toggle("differs", Boolean(document_) && desired !== undefined && JSON.stringify(desired) !== JSON.stringify(reported));
    });
  }

  function drawVersions(device) {
    const packages = document_?.package ?? {};
    const pairs = [];
    for (const [name, said] of Object.entries(packages)) pairs.push([name, said?.version ?? "–"]);
    if (!pairs.length && about?.versions?.version) pairs.push([about.versions.package ?? "software", about.versions.version]);
    if (device.firmware) pairs.push(["running", device.firmware]);
    versionCard.hidden = !pairs.length;
    keyed(versions, pairs, ([name]) => name, ([name]) => h("div", {}, h("dt", {}, name), h("dd")), (row, [, value]) => say(row.lastChild, value));
  }

  return {
    draw,
    leave() {
      alive = false;
      clearTimeout(liveTimer);
      clearInterval(wholeTimer);
      leave();
    },
  };
}

const brief = (value) => (value === undefined ? "" : value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value).map(([name, said]) => `${name}: ${brief(said)}`).join("\n") : typeof value === "string" ? value : JSON.stringify(value));
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// Each alarm's way: fault, alarm, command, answer, job, download, update, in range, end; with the times between.
import * as api from "./api.js";
import { badge, card, h, keyed, mark, say, setBadge, thingLink } from "./dom.js";
import { changed, fleet, need } from "./fleet.js";
import { choice, field } from "./form.js";
import { pagedTable } from "./table.js";
import { ALARM_TONES, ALARM_WORDS, detail, number, span, time, word } from "./words.js";

export const STAGES = [
  ["fault", "fault"], ["alarm", "alarm"], ["command", "command"], ["answer", "answer"], ["job", "job"],
  ["download", "download"], ["update", "update"], ["range", "in range"], ["end", "end"],
];
const ENGINEER = {
  dispatch_opened: "engineer asked for", dispatch_assigned: "engineer asked for", dispatch_on_the_way: "engineer on the way",
  dispatch_on_site: "engineer on site", dispatch_done: "engineer was there", dispatch_cancelled: "engineer cancelled",
};
const FAULT_MS = 30 * 60_000; // so long before an alarm its fault is looked for
const TOLD_MAX = 300;

// Where an alarm stands at each stage: {at, tone, text, now}. What was not reached is not there.
export function stagesOf(alarm, events) {
  const found = {}, told = [];
  const end = alarm.closed ?? Infinity;
  let fault = null;
  for (const event of events) {
    if (event.kind === "fault_injected" && event.at <= alarm.raised + 1000 && event.at > alarm.raised - FAULT_MS) fault = event;
    const own = event.alarm ? event.alarm === alarm.id : event.at >= alarm.raised - 1000 && event.at <= end + 2000;
    if (own && event.kind !== "fault_injected") told.push(event);
  }
  if (fault) {
    found.fault = { at: fault.at, tone: "bad", text: fault.detail.fault ?? fault.detail.kind ?? "" };
    told.unshift(fault);
  }
  told.sort((a, b) => a.at - b.at || a.source.localeCompare(b.source));
  found.alarm = { at: alarm.raised, tone: "bad", text: Number.isFinite(alarm.value) ? number(alarm.value) : "" };
  let percent = null, engineer = "escalated";
  for (const { kind, at, detail: said, source } of told) {
    if (kind === "command_sent") found.command = { at, tone: "action", text: said.action ?? "" };
    else if (kind === "command_failed") found.command = { at, tone: "bad", text: "not sent" };
    else if (kind === "control_result" && !found.answer) found.answer = { at, tone: said.result === "done" ? "good" : "bad", text: said.result ?? "" };
    else if (kind === "job_created") found.job = { at, tone: "action", text: said.version ?? "" };
    else if (kind === "download_progress" && Number.isFinite(said.percent)) percent = said.percent;
    else if (kind === "downloaded" && found.job) found.download = { at, tone: "action", text: "" };
    else if (kind === "verify_failed" && found.job) found.download = { at, tone: "bad", text: "not verified" };
    else if (kind === "job_succeeded" && (found.update?.text !== "done" || source === "backend")) found.update = { at, tone: "good", text: "done" };
    else if (kind === "job_failed") found.update = { at, tone: "bad", text: said.status ? said.status.toLowerCase() : "failed" };
    else if (kind === "in_range") found.range = { at, tone: "good", text: Number.isFinite(said.value) ? number(said.value) : "" };
    else if (kind === "relapsed") delete found.range;
    else if (ENGINEER[kind]) engineer = ENGINEER[kind];
  }
  if (alarm.closed) found.end = { at: alarm.closed, tone: "good", text: "closed" };
  else if (alarm.escalated) found.end = { at: alarm.escalated, tone: "bad", text: engineer };
  const waits = { acting: found.command ? "answer" : "command", updating: found.job ? (found.download ? "update" : "download") : "job", verifying: found.range ? "end" : "range", open: "range" }[alarm.state];
  if (waits && !alarm.closed && !found[waits]) found[waits] = { now: true, tone: "action", text: waits === "download" && percent !== null ? `${number(percent)} %` : "" };
  return { found, told };
}

export function open(view, [wanted]) {
  const leave = need("overview", "alarms", "events", "fleet", "fleetEvents", "devices");
  const search = h("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  const which = choice([["", "all"], ["open", "open"], ["escalated", "escalated"], ["closed", "closed"]]);
  let chosen = wanted ?? null;
  const old = new Map(); // what was asked for because it was not kept: thing → events
  const table = pagedTable({
    caption: "Alarms and their way", key: (alarm) => alarm.id, size: 25, empty: "No alarm yet. Break something, and watch.", press: (alarm) => pick(alarm),
    columns: [
      { name: "device", row: true, make: (cell, alarm) => cell.append(h("a", { href: `#/loop/${encodeURIComponent(alarm.id)}`, class: "thing" }, alarm.thing), h("span", { class: "sub" })), draw: (cell, alarm) => {
        say(cell.lastChild, alarm.rule);
        mark(cell.firstChild, "aria-current", alarm.id === chosen ? "true" : null);
      } },
      { name: "state", make: (cell) => cell.append(badge("")), draw: (cell, alarm) => setBadge(cell.firstChild, ALARM_WORDS[alarm.state] ?? alarm.state, ALARM_TONES[alarm.state]) },
      ...STAGES.map(([key, name], i) => ({ name, make: (cell) => (cell.dataset.name = name, cell).append(h("span", { class: "stage" }, h("span", { class: "since" }), h("span", { class: "sub" }))), draw: (cell, alarm) => stage(cell, alarm, key, i) })),
    ],
  });
  table.element.classList.add("loops");
  search.addEventListener("input", () => { table.first(); draw(); });
  which.addEventListener("input", () => { table.first(); draw(); });

  const name = h("h2", { id: "way" }), body = h("tbody"), state = badge("");
  const way = h("section", { class: "card", "aria-labelledby": "way", hidden: true }, h("div", { class: "head" }, name, state),
    h("div", { class: "scroll" }, h("table", { class: "way" }, h("caption", { class: "quiet" }, "What happened, by whom, and how long after what was before it"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "step"), h("th", { scope: "col" }, "what"), h("th", { scope: "col", class: "wide" }, "told by"), h("th", { scope: "col", class: "number" }, "after"), h("th", { scope: "col", class: "number" }, "at"), h("th", { scope: "col", class: "lane" }, h("span", { class: "quiet" }, "when")))), body)));
  view.append(h("h1", {}, "Loops"), h("p", { class: "lead" }, "Each alarm’s way through command, job and update, until it is measured again and closed."),
    way, card(null, h("div", { class: "filters" }, field("Search", search), field("Show", which)), table.element));

  function pick(alarm) {
    location.hash = `#/loop/${encodeURIComponent(alarm.id)}`;
  }

  const eventsOf = (alarm) => old.get(alarm.thing) ?? fleet.ofThing.get(alarm.thing) ?? [];
  const drawn = new Map(); // of the rows that are shown: alarm id → its stages

  function stage(cell, alarm, key, i) {
    if (!drawn.has(alarm.id)) drawn.set(alarm.id, stagesOf(alarm, eventsOf(alarm)).found);
    const found = drawn.get(alarm.id), one = found[key], box = cell.firstChild;
    const [since, sub] = box.children;
    let tone = "unreached", text = "";
    if (one) {
      const before = STAGES.slice(0, i).map(([other]) => found[other]?.at).filter(Boolean).reduce((a, b) => Math.max(a, b), 0);
      tone = one.now ? "now" : one.tone;
      if (one.now) text = before ? `${span(Date.now() - before)}…` : "…";
      else text = before ? `+${span(one.at - before)}` : time(one.at);
    }
    const name = `stage ${tone}`;
    if (box.className !== name) box.className = name;
    say(since, text || "–");
    say(sub, one?.text ?? "");
  }

  function draw() {
    const wantedText = search.value.toLowerCase(), kind = which.value;
    const shown = [...fleet.alarms.values()].filter((alarm) => (!kind || (kind === "open" ? alarm.state !== "closed" : alarm.state === kind)) && `${alarm.thing} ${alarm.rule}`.toLowerCase().includes(wantedText));
    shown.sort((a, b) => (a.state === "closed") - (b.state === "closed") || b.raised - a.raised);
    drawn.clear();
    table.draw(shown);
    drawWay();
  }

  function drawWay() {
    const alarm = fleet.alarms.get(chosen);
    way.hidden = !alarm;
    if (!alarm) return;
    if (!fleet.ofThing.has(alarm.thing) && !old.has(alarm.thing)) {
      old.set(alarm.thing, []);
      api.eventsOf(alarm.thing).then((events) => { old.set(alarm.thing, events); changed(); }, () => {});
    }
    const { told } = stagesOf(alarm, eventsOf(alarm));
    if (name.textContent !== alarm.thing) name.replaceChildren(thingLink(alarm.thing));
    setBadge(state, ALARM_WORDS[alarm.state] ?? alarm.state, ALARM_TONES[alarm.state]);
    // The progress of a download is one step, however often it is told.
    const steps = told.filter((event, i) => !word(event.kind).dull || (event.kind === "download_progress" && told[i + 1]?.kind !== "download_progress")).slice(0, TOLD_MAX);
    const first = steps[0]?.at ?? alarm.raised, last = Math.max(steps.at(-1)?.at ?? first, alarm.closed ?? Date.now()), long = last - first || 1;
    keyed(body, steps.map((event, i) => ({ event, before: steps[i - 1]?.at ?? event.at })), ({ event }) => `${event.source} ${event.seq}`, ({ event }) => {
      const spoken = word(event.kind);
      return h("tr", { class: spoken.tone }, h("th", { scope: "row" }, h("span", { class: "mark" }, spoken.name)), h("td", { class: "what" }, detail(event.detail)), h("td", { class: "wide" }, event.source === "backend" ? "platform" : event.source),
        h("td", { class: "number" }), h("td", { class: "number" }, time(event.at)), h("td", { class: "lane" }, h("span", { class: "track", "aria-hidden": "true" }, h("i"))));
    }, (row, { event, before }) => {
      say(row.children[3], event.at === first ? "" : `+${span(event.at - before)}`);
      const stripe = row.children[5].firstChild.firstChild, left = ((before - first) / long) * 100, wide = ((event.at - before) / long) * 100;
      stripe.style.left = `${left.toFixed(2)}%`;
      stripe.style.width = `${wide.toFixed(2)}%`;
    });
  }
  return { draw, leave };
}

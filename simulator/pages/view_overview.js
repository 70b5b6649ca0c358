// All devices at a glance.
import { badge, card, h, keyed, say, setBadge, thingLink } from "./dom.js";
import { curve } from "./chart.js";
import { fleet, mayControl, need, notable, state, tally } from "./fleet.js";
import { actions } from "./form.js";
import { ALARM_TONES, ALARM_WORDS, LEVELS, count, detail, plural, rate, span, time, word } from "./words.js";

const FEED_SHOWN = 14;
const ALARMS_SHOWN = 8;

export function open(view) {
  const leave = need("overview", "devices", "alarms", "events", "dispatches", "fleet", "fleetEvents");
  const tiles = ["Devices online", "Alarms open", "Messages a second", "Updates under way", "Engineers needed", "Broken on purpose"]
    .map((name) => ({ name, value: h("dd"), note: h("dd", { class: "note" }) }));
  const tileList = h("dl", { class: "tiles" }, tiles.map((tile) => (tile.box = h("div", {}, (tile.term = h("dt", {}, tile.name)), tile.value, tile.note))));

  const states = bars("Devices by type and state", [["online", "good"], ["alarm", "bad"], ["offline", "idle"]]);
  const risks = riskCard();
  const traffic = curve("Messages a second", "", { zero: true, tall: true });
  const kinds = h("tbody");
  const trafficCard = card("Throughput", traffic.element, h("p", { class: "hint" }, "Since this page was opened."), h("details", {}, h("summary", {}, "By kind"),
    h("div", { class: "scroll" }, h("table", {}, h("caption", { class: "quiet" }, "Messages received so far, by kind"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "kind"), h("th", { scope: "col", class: "number" }, "received"))), kinds))));

  const alarmList = h("ul", { class: "rows" }), noAlarms = h("p", { class: "none" }, "No alarm is open.");
  const alarmCard = card("Open alarms", alarmList, noAlarms);
  const feedList = h("ol", { class: "feed" });
  const feedCard = card("What happens", feedList);
  const demo = actions({}, { only: ["inject", "clear", "firmware", "job"], title: "Try it on the fleet" });

  view.append(h("h1", { class: "quiet" }, "Overview"), tileList,
    h("div", { class: "columns" }, h("div", {}, states.element, trafficCard, demo.element), h("div", {}, alarmCard, risks.element, feedCard)));

  function draw() {
    const all = tally(), overview = fleet.overview;
    const total = all.total || overview?.total || 0, online = total ? all.online + all.alarm : 0;
    const under = [...fleet.jobs.values()].filter((job) => job.status === "IN_PROGRESS" || job.status === "QUEUED").length;
    const sent = fleet.dispatches.filter((one) => !one.closed_at_ms), underWay = sent.filter((one) => ["on_the_way", "on_site"].includes(one.state)).length;
    const waits = sent.length - underWay;
    const speed = fleet.rates.received.at(-1);
    tell(tiles[0], count(online), total ? `of ${count(total)}${all.offline ? `, ${count(all.offline)} offline` : ""}` : "none yet", all.offline > total / 5 ? "bad" : null);
    const alarms = [...fleet.open.values()].flat().length;
    tell(tiles[1], count(alarms), alarms ? `on ${plural(fleet.open.size, "device")}` : "all is well", alarms ? "bad" : null);
    tell(tiles[2], rate(speed ?? NaN), fleet.counts ? `${count(fleet.counts.received)} so far` : "", null);
    tell(tiles[3], count(under), plural([...fleet.jobs.values()].filter((job) => job.status === "SUCCEEDED").length, "update") + " done", under ? "action" : null);
    say(tiles[4].term, underWay && !waits ? "Engineers on their way" : "Engineers needed");
    tell(tiles[4], count(waits || underWay), `${waits && underWay ? `${count(underWay)} on their way, ` : ""}${count(fleet.dispatches.length)} in all`, sent.length ? "action" : null);
    tiles[5].box.hidden = !mayControl();
    tell(tiles[5], count(all.broken), "what the fleet knows", all.broken ? "action" : null);

    drawStates(states);
    risks.draw(overview?.risk ?? {});
    const { times, received } = fleet.rates, end = times.at(-1) ?? Date.now();
    traffic.draw({ times, values: received, begin: Math.min(times[0] ?? end, end - 30_000), end });
    keyed(kinds, Object.entries(fleet.counts?.kinds ?? {}), ([kind]) => kind,
      ([kind]) => h("tr", {}, h("th", { scope: "row" }, kind.replaceAll("_", " ")), h("td", { class: "number" })),
      (row, [, n]) => say(row.lastChild, count(n)));

    const open = [...fleet.open.values()].flat().sort((a, b) => b.raised - a.raised);
    noAlarms.hidden = open.length > 0;
    keyed(alarmList, open.slice(0, ALARMS_SHOWN), (alarm) => alarm.id, (alarm) => {
      const row = h("li", {}, h("a", { href: `#/loop/${encodeURIComponent(alarm.id)}` }, alarm.thing), h("span", { class: "what" }), badge(""), h("span", { class: "ago" }));
      return row;
    }, (row, alarm) => {
      say(row.children[1], alarm.rule);
      setBadge(row.children[2], ALARM_WORDS[alarm.state] ?? alarm.state, ALARM_TONES[alarm.state]);
      say(row.children[3], span(Date.now() - alarm.raised));
    });

    const told = notable(fleet.feed, FEED_SHOWN);
    keyed(feedList, told, (event) => `${event.source} ${event.seq}`, (event) => {
      const said = word(event.kind);
      return h("li", { class: said.tone }, h("time", {}, time(event.at)), h("span", { class: "mark" }, said.name),
        event.thing ? thingLink(event.thing) : null, h("span", { class: "what" }, detail(event.detail)));
    }, () => {});
    demo.draw();
  }
  return { draw, leave };
}

function tell(tile, value, note, tone) {
  say(tile.value, value);
  say(tile.note, note);
  const name = tone ? `tile ${tone}` : "tile";
  if (tile.box.className !== name) tile.box.className = name;
}

function bars(title, parts) {
  const body = h("tbody");
  const table = h("table", { class: "bars" }, h("caption", { class: "quiet" }, title),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "type"), h("th", { scope: "col", class: "bar" }, h("span", { class: "quiet" }, "share")),
      parts.map(([name, tone]) => h("th", { scope: "col", class: "number" }, h("span", { class: `key ${tone}` }), name)))), body);
  return { element: card(title, h("div", { class: "scroll" }, table)), body, parts };
}

function drawStates({ body, parts }) {
  const types = new Map(), at = Date.now();
  for (const device of fleet.devices.values()) {
    const type = device.product ?? device.profile ?? "not known yet";
    const name = device.profile && device.product ? device.product : type;
    const row = types.get(name) ?? { name, n: 0, online: 0, alarm: 0, offline: 0 };
    types.set(name, row);
    row[state(device, at)]++;
    row.n++;
  }
  const rows = [...types.values()].sort((a, b) => b.n - a.n || a.name.localeCompare(b.name));
  keyed(body, rows, (row) => row.name, (row) => h("tr", {}, h("th", { scope: "row" }, row.name), h("td", { class: "bar" }, bar(parts.map(([, tone]) => tone))), parts.map(() => h("td", { class: "number" }))),
    (element, row) => {
      setBar(element.children[1].firstChild, parts.map(([name]) => row[name]));
      parts.forEach(([name], i) => {
        const cell = element.children[2 + i];
        say(cell, count(row[name]));
        cell.classList.toggle("zero", row[name] === 0);
      });
    });
}

export const bar = (tones) => h("span", { class: "stack", "aria-hidden": "true" }, tones.map((tone) => h("i", { class: tone })));
export function setBar(element, values) {
  values.forEach((value, i) => {
    const grow = String(value);
    if (element.children[i].style.flexGrow !== grow) element.children[i].style.flexGrow = grow;
    element.children[i].hidden = !value;
  });
}

const RISK_TONES = { NORMAL: "good", LOW: "calm", MEDIUM: "action", HIGH: "warm", CRITICAL: "bad" };

function riskCard() {
  const whole = bar(LEVELS.map((level) => RISK_TONES[level]));
  const cells = LEVELS.map(() => h("td", { class: "number" }));
  const element = card("Fire risk", whole, h("div", { class: "scroll" }, h("table", { class: "across" }, h("caption", { class: "quiet" }, "Fire sensors by the level of their risk"),
    h("thead", {}, h("tr", {}, LEVELS.map((level) => h("th", { scope: "col", class: "number" }, h("span", { class: `key ${RISK_TONES[level]}` }), level.toLowerCase())))),
    h("tbody", {}, h("tr", {}, cells)))));
  return {
    element,
    draw(risk) {
      const values = LEVELS.map((level) => risk[level] ?? 0);
      element.hidden = values.every((value) => value === 0);
      setBar(whole, values);
      values.forEach((value, i) => say(cells[i], count(value)));
    },
  };
}

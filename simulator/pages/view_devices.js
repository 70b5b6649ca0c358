// Every device in a table: to look for one.
import { badge, card, h, setBadge, thingLink, say } from "./dom.js";
import { fleet, need, state } from "./fleet.js";
import { choice, field } from "./form.js";
import { pagedTable } from "./table.js";
import { LEVEL_TONES, ago, low, number } from "./words.js";

export const STATE_TONES = { online: "good", alarm: "bad", offline: "plain" };
export const STATE_WORDS = { online: "online", alarm: "in alarm", offline: "offline" };

export function open(view) {
  const leave = need("overview", "devices", "alarms", "events", "fleet");
  const search = h("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  const which = choice([["", "all"], ["alarm", "in alarm"], ["online", "online"], ["offline", "offline"], ["broken", "broken on purpose"], ["risk", "at risk"]]);
  const table = pagedTable({
    caption: "Devices", key: (device) => device.thing, empty: "No such device.",
    columns: [
      { name: "device", row: true, make: (cell, device) => cell.append(thingLink(device.thing)), draw: () => {} },
      { name: "type", draw: (cell, device) => say(cell, device.product ?? device.profile ?? "") },
      { name: "state", make: (cell) => cell.append(badge("")), draw: (cell, device) => {
        const now = state(device);
        setBadge(cell.firstChild, STATE_WORDS[now], STATE_TONES[now]);
      } },
      { name: "risk", make: (cell) => cell.append(badge("")), draw: (cell, device) => {
        cell.firstChild.hidden = !device.level;
        if (device.level) setBadge(cell.firstChild, `${low(device.level)} ${number(device.risk)}`, LEVEL_TONES[device.level]);
      } },
      { name: "firmware", hide: true, draw: (cell, device) => say(cell, device.firmware ?? "") },
      { name: "faults", hide: true, draw: (cell, device) => say(cell, device.faults.join(", ")) },
      { name: "site", hide: true, draw: (cell, device) => say(cell, device.site ?? "") },
      { name: "last sample", number: true, draw: (cell, device) => say(cell, ago(device.last)) },
    ],
  });
  search.addEventListener("input", () => { table.first(); draw(); });
  which.addEventListener("input", () => { table.first(); draw(); });
  view.append(h("h1", {}, "Devices"), card(null, h("div", { class: "filters" }, field("Search", search), field("Show", which)), table.element));

  function draw() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean), kind = which.value, at = Date.now();
    const found = [];
    for (const device of fleet.devices.values()) {
      if (kind === "broken" ? !device.faults.length : kind === "risk" ? !device.level || device.level === "NORMAL" : kind && state(device, at) !== kind) continue;
      const text = `${device.thing} ${device.product ?? ""} ${device.profile ?? ""} ${device.site ?? ""} ${device.firmware ?? ""}`.toLowerCase();
      if (wanted.every((part) => text.includes(part))) found.push(device);
    }
    found.sort((a, b) => (a.thing < b.thing ? -1 : 1));
    table.draw(found);
  }
  return { draw, leave };
}

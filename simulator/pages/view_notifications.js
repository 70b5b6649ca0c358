// Who was told what: the outbox of the platform.
import { badge, card, h, say, setBadge, thingLink } from "./dom.js";
import { fleet, need } from "./fleet.js";
import { choice, field } from "./form.js";
import { pagedTable } from "./table.js";
import { low, time } from "./words.js";

const TONES = { sent: "good", shown: "good", waiting: "action", failed: "bad", quieted: "plain", dropped: "bad" };

export function open(view) {
  const leave = need("overview", "notifications");
  const channel = choice([["", "all"], ["email", "e-mail"], ["phone", "phone"], ["dashboard", "dashboard"]]);
  const table = pagedTable({
    caption: "Notifications", key: (one) => one.id, size: 30, empty: "Nobody was told anything yet.",
    columns: [
      { name: "at", draw: (cell, one) => say(cell, time(one.at_ms)) },
      { name: "channel", draw: (cell, one) => say(cell, one.channel === "email" ? "e-mail" : one.channel) },
      { name: "subject", row: true, draw: (cell, one) => say(cell, one.subject) },
      { name: "device", make: (cell, one) => one.thing && cell.append(thingLink(one.thing)), draw: () => {} },
      { name: "class", hide: true, draw: (cell, one) => say(cell, low(one.alarm_class)) },
      { name: "level", number: true, hide: true, draw: (cell, one) => say(cell, one.level ?? "") },
      { name: "state", make: (cell) => cell.append(badge("")), draw: (cell, one) => {
        setBadge(cell.firstChild, low(one.state), TONES[one.state] ?? "plain");
        cell.title = one.error ?? "";
      } },
    ],
  });
  channel.addEventListener("input", () => { table.first(); draw(); });
  view.append(h("h1", {}, "Notifications"), card(null, h("div", { class: "filters" }, field("Channel", channel)), table.element));

  function draw() {
    table.draw(fleet.notifications.filter((one) => !channel.value || one.channel === channel.value).reverse());
  }
  return { draw, leave };
}

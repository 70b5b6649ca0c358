// Field engineers: why they were sent, how far they are; and to say how far.
import * as api from "./api.js";
import { badge, button, card, h, keyed, say, setBadge, tell, thingLink } from "./dom.js";
import { fleet, mayDispatch, need, now } from "./fleet.js";
import { choice, field } from "./form.js";
import { pagedTable } from "./table.js";
import { low, span, time } from "./words.js";

export const WAY = ["opened", "assigned", "on_the_way", "on_site", "done"];
const WORDS = { opened: "opened", assigned: "assigned", on_the_way: "on the way", on_site: "on site", done: "done", cancelled: "cancelled" };
const TONES = { opened: "bad", assigned: "action", on_the_way: "action", on_site: "action", done: "good", cancelled: "plain" };
const PRESS = { assigned: "Assign", on_the_way: "Set off", on_site: "Arrived", done: "Done" };

const stateOf = (one) => one.state ?? (one.closed_at_ms ? "done" : "opened");

export function open(view, [wanted]) {
  const leave = need("overview", "dispatches", "alarms", "events");
  const which = choice([["open", "not done"], ["", "all"], ...Object.entries(WORDS)]);
  which.value = "";
  const table = pagedTable({
    caption: "Dispatches", key: (one) => one.alarm_id, size: 20, empty: "Nobody had to be sent.", press: (one) => { location.hash = `#/dispatches/${encodeURIComponent(one.alarm_id)}`; },
    columns: [
      { name: "device", row: true, make: (cell, one) => cell.append(h("a", { href: `#/dispatches/${encodeURIComponent(one.alarm_id)}` }, one.thing), h("span", { class: "sub" })), draw: (cell, one) => say(cell.lastChild, one.rule_id) },
      { name: "state", make: (cell) => cell.append(badge("")), draw: (cell, one) => setBadge(cell.firstChild, WORDS[stateOf(one)] ?? stateOf(one), TONES[stateOf(one)]) },
      { name: "why", hide: true, draw: (cell, one) => say(cell, one.reason) },
      { name: "who", draw: (cell, one) => say(cell, one.who ?? "") },
      { name: "opened", number: true, draw: (cell, one) => say(cell, time(one.opened_at_ms)) },
      { name: "open for", number: true, draw: (cell, one) => say(cell, span((one.closed_at_ms ?? Date.now()) - one.opened_at_ms)) },
      { name: "next", make: (cell) => cell.append(h("span", { class: "buttons" })), draw: (cell, one) => buttons(cell.firstChild, one) },
    ],
  });
  which.addEventListener("input", () => { table.first(); draw(); });
  const heading = h("h2", { id: "sent" }), steps = h("ol", { class: "steps" }), pairs = h("dl", { class: "pairs" }), press = h("span", { class: "buttons" });
  const one = h("section", { class: "card", "aria-labelledby": "sent", hidden: true }, heading, pairs, steps, press);
  const noted = h("p", { class: "refused", role: "alert", hidden: true });
  view.append(h("h1", {}, "Dispatches"), noted, one, card(null, h("div", { class: "filters" }, field("Show", which)), table.element));

  let alive = true, shown = null;
  const look = async () => {
    if (wanted) shown = await api.dispatch(wanted).catch(() => null);
  };
  look();
  const timer = setInterval(() => document.hidden || look(), 2000);

  function buttons(place, dispatch) {
    const at = stateOf(dispatch), next = WAY[WAY.indexOf(at) + 1];
    const able = mayDispatch() && next && at !== "cancelled" && !dispatch.closed_at_ms;
    const key = able ? `${next} ${fleet.me.role}` : "";
    if (place.key === key) return;
    place.key = key;
    place.replaceChildren(...(able ? [
      button(PRESS[next], () => ask(dispatch, next), { "aria-label": `${PRESS[next]}: ${dispatch.thing}` }),
      button("Cancel", () => ask(dispatch, "cancelled"), { class: "plain", "aria-label": `Cancel: ${dispatch.thing}` })] : []));
  }

  // Who and what there is to say, then it is said.
  function ask(dispatch, state) {
    const who = h("input", { value: dispatch.who || "", autocomplete: "off", maxlength: "100" }), note = h("input", { autocomplete: "off", maxlength: "500" });
    const dialog = h("dialog", { "aria-labelledby": "ask" }, h("form", { method: "dialog" }, h("h2", { id: "ask" }, `${dispatch.thing}: ${WORDS[state]}`), field("Who", who), field("Note", note),
      h("div", { class: "send" }, h("button", { value: "yes", class: "main" }, "Say so"), h("button", { value: "", formnovalidate: true }, "Not now"))));
    dialog.addEventListener("close", async () => {
      dialog.remove();
      if (dialog.returnValue !== "yes") return;
      try {
        await api.advance(dispatch.alarm_id, state, who.value.trim() || "the pages", note.value.trim());
        noted.hidden = true;
        tell(`${dispatch.thing}: ${WORDS[state]}`);
      } catch (error) {
        say(noted, error.message);
        noted.hidden = false;
      }
      await Promise.all([now("dispatches"), look()]);
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  function draw() {
    const kind = which.value;
    const list = fleet.dispatches.filter((each) => !kind || (kind === "open" ? !["done", "cancelled"].includes(stateOf(each)) : stateOf(each) === kind));
    table.draw(list.sort((a, b) => Boolean(a.closed_at_ms) - Boolean(b.closed_at_ms) || b.opened_at_ms - a.opened_at_ms));
    const dispatch = wanted && fleet.dispatches.find((each) => each.alarm_id === wanted);
    one.hidden = !dispatch;
    if (!dispatch) return;
    say(heading, dispatch.thing);
    keyed(pairs, [["rule", dispatch.rule_id], ["severity", low(dispatch.severity)], ["why", dispatch.reason]], ([name]) => name, ([name]) => h("div", {}, h("dt", {}, name), h("dd")), (row, [, value]) => say(row.lastChild, value));
    if (!pairs.links) {
      pairs.links = true;
      pairs.after(h("p", { class: "links" }, thingLink(dispatch.thing), " · ", h("a", { href: `#/loop/${encodeURIComponent(dispatch.alarm_id)}` }, "its alarm’s way")));
    }
    const told = new Map((shown?.steps ?? [{ state: "opened", at_ms: dispatch.opened_at_ms }]).map((step) => [step.state, step]));
    const way = told.has("cancelled") ? ["opened", "cancelled"] : WAY;
    keyed(steps, way, (state) => state, (state) => h("li", {}, h("span", { class: "mark" }, WORDS[state]), h("span", { class: "sub" })), (row, state) => {
      const step = told.get(state);
      row.className = step ? "reached" : "";
      if (stateOf(dispatch) === state) row.setAttribute("aria-current", "step");
      else row.removeAttribute("aria-current");
      say(row.lastChild, step ? [time(step.at_ms), step.who, step.note].filter(Boolean).join(", ") : "");
    });
    buttons(press, dispatch);
  }
  return {
    draw,
    leave() {
      alive = false;
      clearInterval(timer);
      leave();
    },
    get alive() { return alive; },
  };
}

// The pages people watch. This file: which view is shown; the address says it: `#/device/Vehicle-VIN-001`.
//
//   api.js       every call, and what its answers are called here: the only file that knows the API's shapes
//   fleet.js     what is known of devices, alarms and events, and who is asked for it how often
//   dom.js table.js chart.js form.js words.js     elements, tables with pages, curves on a canvas, forms, words
//   view_*.js    one view each: `open(place, rest)` builds it, and gives {draw, leave}
//
// Rules: no framework, no build, nothing from elsewhere, nothing inline: the policy is `default-src 'self'`. Text comes
// in as text, never as HTML. What may grow has a bound: tables have pages, series a length. Drawn at most once a frame.
// A curve or a map has its numbers in a table beside it. Where `api/` and `control/` are says index.html's
// `fleetsim-base`; whoever serves these files elsewhere than at `/` writes another path there.
import * as api from "./api.js";
import { card, h, mark, say, tell } from "./dom.js";
import { begin, changed, fleet, need, watch } from "./fleet.js";
import { field } from "./form.js";
import { plural, span } from "./words.js";

const VIEWS = {
  overview: ["Overview", () => import("./view_overview.js")],
  map: ["Map", () => import("./view_map.js")],
  devices: ["Devices", () => import("./view_devices.js")],
  loop: ["Loops", () => import("./view_loop.js")],
  jobs: ["Jobs", () => import("./view_jobs.js")],
  dispatches: ["Dispatches", () => import("./view_dispatches.js")],
  notifications: ["Notifications", () => import("./view_notifications.js")],
  device: ["Device", () => import("./view_device.js")],
};
const NOWHERE = ["No such page", async () => ({ open: nowhere })];
const IN_NAV = Object.keys(VIEWS).filter((name) => name !== "device");

const main = document.querySelector("#main"), nav = document.querySelector("#nav");
const links = Object.fromEntries(IN_NAV.map((name) => {
  const count = h("span", { class: "count", hidden: true });
  const link = h("a", { href: `#/${name}` }, VIEWS[name][0], count);
  nav.append(h("li", {}, link));
  return [name, { link, count }];
}));

let shown = null, turn = 0, signing = null;

function address() {
  const [name = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  try {
    return [name || "overview", rest.map(decodeURIComponent)];
  } catch {
    return [name, []];
  }
}

function nowhere(view) {
  view.append(h("h1", {}, "No such page"), card(null, h("p", {}, "Nothing is at ", h("code", {}, location.hash.slice(0, 80)), "."),
    h("p", {}, h("a", { href: "#/overview" }, "To the overview"))));
  return { draw() {}, leave() {} };
}

// What somebody was asked on the page before is not asked on the next.
function undone() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

async function show(moved = true) {
  const mine = ++turn, [name, rest] = address(), [title, load] = Object.hasOwn(VIEWS, name) ? VIEWS[name] : NOWHERE;
  undone();
  const { open } = await load();
  if (mine !== turn) return;
  shown?.leave();
  const view = h("div", { class: `view of-${name}` });
  main.replaceChildren(view);
  shown = open(view, rest);
  document.title = `${rest[0] ?? title} · fleetsim`;
  const here = name === "device" ? "devices" : name;
  for (const [other, { link }] of Object.entries(links)) mark(link, "aria-current", other === here ? "page" : null);
  links[here]?.link.scrollIntoView?.({ block: "nearest", inline: "nearest" });
  if (moved) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  changed();
}

function draw() {
  if (fleet.signedOut) return signIn();
  if (signing) {
    signing = null;
    show(false);
  }
  const up = fleet.linked, place = document.querySelector("#link");
  const name = up === null ? "link" : up ? (fleet.overview?.healthy || !fleet.overview?.total ? "link good" : "link action") : "link bad";
  if (place.className !== name) place.className = name;
  say(document.querySelector("#link-text"), up === null ? "connecting" : !up ? "no connection" : fleet.overview?.total === 0 ? "waiting for devices" : fleet.overview?.healthy ? "healthy" : "degraded");
  mark(place, "title", up === false ? fleet.why : fleet.overview ? `${fleet.overview.active} of ${fleet.overview.total} devices active within 5 min` : null);
  const run = fleet.run;
  say(document.querySelector("#run"), run ? `${run.title || run.scenario} · ${run.phase} · ${span(run.elapsed_s * 1000)}` : "");
  counted("loop", [...fleet.open.values()].reduce((n, list) => n + list.length, 0), "open alarm");
  counted("dispatches", fleet.dispatches.filter((one) => !one.closed_at_ms).length, "open dispatch", "open dispatches");
  shown?.draw();
  speak();
}

function counted(name, n, one, many) {
  const { count } = links[name];
  count.hidden = !n;
  say(count, n > 99 ? "99+" : n);
  mark(count, "aria-label", plural(n, one, many));
}

// A screen reader hears of new alarms, and of the connection; of nothing else by itself.
let heard = null, wasUp = null;
function speak() {
  const open = fleet.open.size;
  if (wasUp !== fleet.linked && fleet.linked !== null) {
    if (wasUp !== null) tell(fleet.linked ? "Connected again" : "No connection");
    wasUp = fleet.linked;
  }
  if (heard !== null && open > heard) tell(`${plural(open, "device")} in alarm`);
  heard = open;
}

function signIn() {
  if (signing) return;
  undone();
  shown?.leave();
  shown = null;
  const token = h("input", { type: "password", autocomplete: "current-password", required: true });
  const refused = h("p", { class: "refused", role: "alert" });
  const form = h("form", {}, field("Token", token, "fleetsim prints it, or a link that needs none, when the sandbox starts."), h("div", { class: "send" }, h("button", { class: "main", type: "submit" }, "Sign in")), refused);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await api.enter(token.value.trim());
      await begin();
    } catch (error) {
      say(refused, error.message);
    }
  });
  signing = card("Sign in", form);
  signing.classList.add("signin");
  main.replaceChildren(h("div", { class: "view" }, h("h1", { class: "quiet" }, "Sign in"), signing));
  token.focus();
}

addEventListener("hashchange", () => (fleet.signedOut ? null : show()));
watch(draw);
need("overview", "run", "dispatches", "alarms", "events");
await begin();
if (!fleet.signedOut) await show(false);


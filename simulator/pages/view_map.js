// Vehicles where they are, and the ways they took: on a canvas, without tiles.
import * as api from "./api.js";
import { badge, button, card, h, mark, say, setBadge, thingLink } from "./dom.js";
import { inks, line, sheet, ticks } from "./chart.js";
import { changed, fleet, need, state } from "./fleet.js";
import { choice, field } from "./form.js";
import { pagedTable } from "./table.js";
import { STATE_TONES, STATE_WORDS } from "./view_devices.js";
import { ago, count, number } from "./words.js";

const EVERY_MS = 2000;
const TRAIL = 240; // places remembered of each vehicle
const TRAILS_MAX = 200_000; // of all together
const STROKES = 4000; // in a frame
const NEAR_PLACES = 3; // pixels
const KM_PER_DEGREE = 111.195;
const ZOOM_MAX = 4e6; // pixels a degree
const PAST_MAX = 200; // vehicles whose past way is asked for, a few at a time
const PAST_AT_ONCE = 10;
const PAST_SAMPLES = 300;
const NEAR = 14; // pixels from a vehicle that still mean it

const vehicles = new Map(); // kept while the pages are open, so that the ways are not lost by looking elsewhere

export function open(view, [wanted]) {
  const leave = need("overview", "devices", "alarms", "events", "fleet");
  const canvas = h("canvas", { class: "map", tabindex: "0", role: "img", "aria-label": "Map of vehicles; the table beside it has the same.", "aria-describedby": "map-keys" });
  const products = h("div", { class: "choices", role: "group", "aria-label": "Show" });
  const zoom = h("div", { class: "zoom", role: "group", "aria-label": "Zoom" },
    button("+", () => scaleBy(1.6), { "aria-label": "Zoom in" }), button("−", () => scaleBy(1 / 1.6), { "aria-label": "Zoom out" }));
  const picked = h("div", { class: "picked", hidden: true });
  const search = h("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  const which = choice([["", "all"], ["alarm", "in alarm"], ["online", "online"], ["offline", "offline"]]);
  const table = pagedTable({
    caption: "Vehicles", key: (vehicle) => vehicle.thing, size: 12, empty: "No vehicle has told where it is yet.", press: (vehicle) => pick(vehicle.thing, true),
    columns: [
      { name: "vehicle", row: true, make: (cell, vehicle) => cell.append(button(vehicle.thing, () => pick(vehicle.thing, true), { class: "plain" })), draw: (cell, vehicle) => mark(cell.firstChild, "aria-pressed", vehicle.thing === chosen ? "true" : "false") },
      { name: "state", make: (cell) => cell.append(badge("")), draw: (cell, vehicle) => setBadge(cell.firstChild, STATE_WORDS[vehicle.state], STATE_TONES[vehicle.state]) },
      { name: "position", number: true, draw: (cell, vehicle) => say(cell, `${vehicle.lat.toFixed(3)}, ${vehicle.lon.toFixed(3)}`) },
    ],
  });
  const box = h("div", { class: "mapbox" }, canvas, zoom, picked);
  view.append(h("h1", { class: "quiet" }, "Map"), h("div", { class: "mapview" },
    h("section", { class: "card", "aria-label": "Map" }, products, box, h("p", { class: "hint", id: "map-keys" }, "Drag or use the arrow keys to move, the wheel or + and − to zoom. Faint lines are the ways the vehicles took.")),
    card("Vehicles", h("div", { class: "filters" }, field("Search", search), field("Show", which)), table.element)));
  search.addEventListener("input", () => { table.first(); draw(); });
  which.addEventListener("input", () => { table.first(); draw(); });

  let chosen = wanted ?? null, followed = false, fitted = null, touched = false, shownProducts = "";
  const place = { lat: 0, lon: 0, scale: 0, width: 0, height: 0 };
  let laid = null, laying = null; // sheets with the ways: the one that is shown, and the one that is being drawn
  const sheets = [document.createElement("canvas"), document.createElement("canvas")];
  const fresh = new Set(); // vehicles that moved since
  let inOrder = [];
  let alive = true, timer = null, failed = "";

  async function ask() {
    try {
      if (!document.hidden) {
        take(await api.positions());
        await Promise.all([...vehicles.values()].filter((one) => !one.asked).slice(0, pastLeft()).map(past));
      }
      failed = "";
    } catch (error) {
      failed = error.message;
    }
    if (alive) timer = setTimeout(ask, EVERY_MS);
    changed();
  }

  function take(rows) {
    const most = Math.max(8, Math.min(TRAIL, Math.floor(TRAILS_MAX / Math.max(1, rows.length))));
    for (const [thing, product, at, lat, lon] of rows) {
      if (!Number.isFinite(lat) || !Number.isFinite(lon)) continue;
      let one = vehicles.get(thing);
      if (!one) vehicles.set(thing, (one = { thing, product, at: 0, first: at, lat, lon, trail: new Float32Array(2 * most), begin: 0, length: 0 }));
      one.product = product;
      if (at <= one.at) continue;
      if (one.length === 0 || lat !== one.lat || lon !== one.lon) addTo(one, lat, lon);
      Object.assign(one, { at, lat, lon });
    }
  }

  const pastLeft = () => Math.max(0, Math.min(PAST_AT_ONCE, PAST_MAX - [...vehicles.values()].filter((one) => one.asked).length));

  // The way a vehicle took before the page was opened.
  async function past(one) {
    one.asked = true;
    const room = one.trail.length / 2, places = [];
    for (const { at, metrics } of await api.samples(one.thing, PAST_SAMPLES)) {
      const { latitude, longitude } = metrics, last = places.at(-1);
      if (at < one.first && Number.isFinite(latitude) && Number.isFinite(longitude) && !(last && last[0] === latitude && last[1] === longitude)) places.push([latitude, longitude]);
    }
    for (let i = 0; i < one.length; i++) {
      const at = (one.begin + i) % room;
      places.push([one.lat0 + one.trail[2 * at], one.lon0 + one.trail[2 * at + 1]]);
    }
    Object.assign(one, { begin: 0, length: 0, lat0: undefined, lon0: undefined });
    for (const [lat, lon] of places.slice(-room)) addTo(one, lat, lon);
    if (laid) laid.key = "";
  }

  // The ways are offsets from where a vehicle was first seen: single precision is then exact to the centimetre.
  function addTo(one, lat, lon) {
    one.lat0 ??= lat;
    one.lon0 ??= lon;
    one.south = Math.min(one.south ?? lat, lat);
    one.north = Math.max(one.north ?? lat, lat);
    one.west = Math.min(one.west ?? lon, lon);
    one.east = Math.max(one.east ?? lon, lon);
    const room = one.trail.length / 2, at = (one.begin + one.length) % room;
    one.trail[2 * at] = lat - one.lat0;
    one.trail[2 * at + 1] = lon - one.lon0;
    if (one.length < room) one.length++;
    else one.begin = (one.begin + 1) % room;
    if (one.length > 1) fresh.add(one);
  }

  // -- where what is drawn

  const across = () => Math.cos((place.lat * Math.PI) / 180);
  const xOf = (lon) => place.width / 2 + (lon - place.lon) * across() * place.scale;
  const yOf = (lat) => place.height / 2 - (lat - place.lat) * place.scale;

  function extent(of) {
    let south = 90, north = -90, west = 180, east = -180;
    for (const one of of) {
      south = Math.min(south, one.south); north = Math.max(north, one.north);
      west = Math.min(west, one.west); east = Math.max(east, one.east);
    }
    return { south, north, west, east };
  }

  function fit(product) {
    const of = [...vehicles.values()].filter((one) => !product || one.product === product);
    if (!of.length || !place.width) return;
    const { south, north, west, east } = extent(of);
    place.lat = (south + north) / 2;
    place.lon = (west + east) / 2;
    const room = 56;
    place.scale = Math.min((place.width - 2 * room) / (((east - west) || 0.005) * across()), (place.height - 2 * room) / ((north - south) || 0.005), ZOOM_MAX);
    fitted = product ?? "";
    changed();
  }

  function scaleBy(factor, x = place.width / 2, y = place.height / 2) {
    if (!place.scale) return;
    const lon = place.lon + (x - place.width / 2) / (across() * place.scale), lat = place.lat - (y - place.height / 2) / place.scale;
    const scale = Math.min(ZOOM_MAX, Math.max(2, place.scale * factor)), by = place.scale / scale;
    place.lon = lon + (place.lon - lon) * by;
    place.lat = lat + (place.lat - lat) * by;
    place.scale = scale;
    moved();
  }

  function panBy(x, y) {
    if (!place.scale) return;
    place.lon -= x / (across() * place.scale);
    place.lat = Math.max(-85, Math.min(85, place.lat + y / place.scale));
    moved();
  }

  function moved() {
    fitted = null;
    touched = true;
    changed();
  }

  function pick(thing, centre) {
    chosen = thing === chosen && !centre ? null : thing;
    const one = vehicles.get(chosen);
    if (one && centre) {
      place.lat = one.lat;
      place.lon = one.lon;
      moved();
    }
    changed();
  }

  // -- hands

  let grip = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    grip = { x: event.offsetX, y: event.offsetY, far: 0 };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!grip) return void (canvas.style.cursor = nearest(event.offsetX, event.offsetY) ? "pointer" : "grab");
    const x = event.offsetX - grip.x, y = event.offsetY - grip.y;
    grip.far += Math.abs(x) + Math.abs(y);
    Object.assign(grip, { x: event.offsetX, y: event.offsetY });
    if (grip.far > 4) panBy(x, y);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (grip && grip.far <= 4) pick(nearest(event.offsetX, event.offsetY)?.thing ?? null, false);
    grip = null;
  });
  canvas.addEventListener("pointercancel", () => (grip = null));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    scaleBy(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    if (by) panBy(...by);
    else if (event.key === "+" || event.key === "=") scaleBy(1.6);
    else if (event.key === "-") scaleBy(1 / 1.6);
    else if (event.key === "Escape") pick(null, false);
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("ink", changed);
  const sized = new ResizeObserver(changed);
  sized.observe(canvas);

  function nearest(x, y) {
    let best = null, least = NEAR * NEAR;
    for (const one of vehicles.values()) {
      const far = (xOf(one.lon) - x) ** 2 + (yOf(one.lat) - y) ** 2;
      if (far < least) [best, least] = [one, far];
    }
    return best;
  }

  // -- drawing

  function draw() {
    const shown = list();
    table.draw(shown);
    chooseProducts();
    const on = sheet(canvas);
    if (!on) return;
    const { pen, width, height } = on;
    if (place.width !== width || place.height !== height) {
      Object.assign(place, { width, height });
      if (fitted !== null) fitted = undefined;
    }
    if (vehicles.size && (!place.scale || fitted === undefined || (!touched && fitted === "" && outside()))) fit(fitted || undefined);
    const ink = inks();
    if (!place.scale) {
      pen.fillStyle = ink.soft;
      pen.font = ink.font;
      pen.textAlign = "center";
      pen.fillText(failed || "Waiting for vehicles to tell where they are", width / 2, height / 2);
      return;
    }
    graticule(pen, width, height, ink);
    layRoads(pen, ink);
    dots(pen, ink);
    scaleBar(pen, width, height, ink);
    caption();
  }

  const outside = () => {
    for (const one of vehicles.values()) {
      if (xOf(one.west) < 0 || yOf(one.north) < 0 || xOf(one.east) > place.width || yOf(one.south) > place.height) return true;
    }
    return false;
  };

  function list() {
    const wantedText = search.value.toLowerCase(), kind = which.value, at = Date.now(), found = [];
    if (inOrder.length !== vehicles.size) inOrder = [...vehicles.values()].sort((a, b) => (a.thing < b.thing ? -1 : 1));
    for (const one of inOrder) {
      one.state = state(fleet.devices.get(one.thing) ?? { thing: one.thing, last: one.at, faults: [] }, at);
      if ((!kind || one.state === kind) && `${one.thing} ${one.product}`.toLowerCase().includes(wantedText)) found.push(one);
    }
    return found;
  }

  function chooseProducts() {
    const names = [...new Set([...vehicles.values()].map((one) => one.product).filter(Boolean))].sort();
    const key = names.join();
    if (key !== shownProducts) {
      shownProducts = key;
      products.replaceChildren(...["", ...names].map((name) => button(name || "All", () => { touched = true; fit(name || undefined); }, { "data-product": name })));
    }
    for (const one of products.children) mark(one, "aria-pressed", one.dataset.product === fitted ? "true" : "false");
    products.hidden = names.length < 2;
  }

  function graticule(pen, width, height, ink) {
    const west = place.lon - width / 2 / (across() * place.scale), east = place.lon + width / 2 / (across() * place.scale);
    const south = place.lat - height / 2 / place.scale, north = place.lat + height / 2 / place.scale;
    const wide = Math.max(2, width / 130), high = Math.max(2, height / 130);
    pen.font = ink.font;
    pen.lineWidth = 1;
    const step = (list) => (list.length > 1 ? Math.abs(list[1] - list[0]) : 1);
    const lons = ticks(west, east, wide), lats = ticks(south, north, high);
    const digits = Math.max(0, Math.min(5, -Math.floor(Math.log10(Math.min(step(lons), step(lats))) + 1e-9)));
    pen.fillStyle = ink.soft;
    pen.strokeStyle = ink.grid;
    pen.textBaseline = "top";
    pen.textAlign = "center";
    for (const lon of lons) {
      const x = Math.round(xOf(lon)) + 0.5;
      line(pen, x, 18, x, height);
      if (x > 60 && x < width - 40) pen.fillText(`${Math.abs(lon).toFixed(digits)}°${lon < 0 ? "W" : "E"}`, x, 4);
    }
    pen.textBaseline = "middle";
    pen.textAlign = "left";
    for (const lat of lats) {
      const y = Math.round(yOf(lat)) + 0.5;
      if (y < 24) continue;
      line(pen, 58, y, width, y);
      pen.fillText(`${Math.abs(lat).toFixed(digits)}°${lat < 0 ? "S" : "N"}`, 6, y);
    }
  }

  // The ways lie on a sheet of their own. When the map moves, the sheet is moved with it, and drawn anew on another, so
  // many strokes a frame; what vehicles add is added.
  function layRoads(pen, ink) {
    const key = [place.lat, place.lon, place.scale, canvas.width, canvas.height, ink.accent].join();
    if (laid?.key !== key && laying?.key !== key) {
      laying = { ...place, across: across(), key, sheet: laid?.sheet === sheets[0] ? sheets[1] : sheets[0], ink: ink.accent, left: [...vehicles.values()] };
      laying.sheet.width = canvas.width;
      laying.sheet.height = canvas.height;
      fresh.clear();
    }
    if (laying) {
      for (let strokes = 0; strokes < STROKES && laying.left.length; ) strokes += stroke(laying, laying.left.pop());
      if (laying.left.length) changed();
      else [laid, laying] = [laying, null];
    }
    if (!laying) {
      for (const one of fresh) stroke(laid, one, Math.max(0, one.length - 2));
      fresh.clear();
    }
    if (!laid) return;
    const x = (at) => xOf(laid.lon + (at - laid.width / 2) / (laid.across * laid.scale));
    const y = (at) => yOf(laid.lat - (at - laid.height / 2) / laid.scale);
    pen.drawImage(laid.sheet, x(0), y(0), x(laid.width) - x(0), y(laid.height) - y(0));
  }

  // One vehicle's way on a sheet; places nearer than a few pixels are passed over. Gives how many strokes it took.
  function stroke(on, one, first = 0) {
    const pen = on.sheet.getContext("2d"), scale = on.sheet.width / on.width, room = one.trail.length / 2;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.strokeStyle = on.ink;
    pen.globalAlpha = vehicles.size > 300 ? 0.14 : 0.3;
    pen.lineWidth = 2;
    pen.lineJoin = "bevel";
    pen.beginPath();
    let strokes = 0, lastX = NaN, lastY = NaN;
    for (let i = first; i < one.length; i++) {
      const at = (one.begin + i) % room;
      const x = on.width / 2 + (one.lon0 + one.trail[2 * at + 1] - on.lon) * on.across * on.scale;
      const y = on.height / 2 - (one.lat0 + one.trail[2 * at] - on.lat) * on.scale;
      if (i === first) pen.moveTo(x, y);
      else if (i === one.length - 1 || Math.abs(x - lastX) + Math.abs(y - lastY) > NEAR_PLACES) {
        const seen = Math.max(x, lastX) > 0 && Math.min(x, lastX) < on.width && Math.max(y, lastY) > 0 && Math.min(y, lastY) < on.height;
        if (seen) pen.lineTo(x, y);
        else pen.moveTo(x, y);
        strokes += seen;
      } else continue;
      lastX = x;
      lastY = y;
    }
    if (strokes) pen.stroke();
    return strokes + 1;
  }

  function dots(pen, ink) {
    const size = vehicles.size > 500 ? 3 : 4.5;
    const groups = { offline: [], online: [], alarm: [] };
    for (const one of vehicles.values()) groups[one.state]?.push(one);
    const colours = { offline: ink.idle, online: ink.accent, alarm: ink.bad };
    for (const [name, of] of Object.entries(groups)) {
      if (!of.length) continue;
      pen.fillStyle = colours[name];
      pen.strokeStyle = ink.card;
      pen.lineWidth = 3;
      pen.beginPath();
      for (const one of of) {
        const x = xOf(one.lon), y = yOf(one.lat);
        if (x < -9 || y < -9 || x > place.width + 9 || y > place.height + 9) continue;
        const r = name === "alarm" ? size + 1.5 : size;
        pen.moveTo(x + r, y);
        pen.arc(x, y, r, 0, 7);
      }
      if (of.length <= 500) pen.stroke();
      pen.fill();
    }
    // Not by colour alone: an alarm has a ring.
    pen.strokeStyle = ink.bad;
    pen.lineWidth = 1.5;
    pen.beginPath();
    for (const one of groups.alarm) {
      pen.moveTo(xOf(one.lon) + size + 6, yOf(one.lat));
      pen.arc(xOf(one.lon), yOf(one.lat), size + 6, 0, 7);
    }
    pen.stroke();
    const one = vehicles.get(chosen);
    if (!one) return;
    const x = xOf(one.lon), y = yOf(one.lat);
    pen.strokeStyle = ink.ink;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, size + 5, 0, 7);
    pen.stroke();
    pen.font = `600 12px ${ink.font.split("px ")[1]}`;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    pen.lineWidth = 4;
    pen.strokeStyle = ink.card;
    pen.strokeText(one.thing, x + size + 10, y);
    pen.fillStyle = ink.ink;
    pen.fillText(one.thing, x + size + 10, y);
  }

  function scaleBar(pen, width, height, ink) {
    const km = KM_PER_DEGREE * (110 / place.scale);
    const power = 10 ** Math.floor(Math.log10(km)), round = [5, 2, 1].find((n) => n * power <= km) * power;
    const wide = (round / KM_PER_DEGREE) * place.scale, x = width - wide - 14, y = height - 14;
    pen.strokeStyle = ink.ink;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(x, y - 5);
    pen.lineTo(x, y);
    pen.lineTo(x + wide, y);
    pen.lineTo(x + wide, y - 5);
    pen.stroke();
    pen.fillStyle = ink.ink;
    pen.font = ink.font;
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    pen.fillText(round >= 1 ? `${number(round)} km` : `${number(round * 1000)} m`, x + wide / 2, y - 6);
  }

  function caption() {
    const one = vehicles.get(chosen);
    picked.hidden = !one;
    if (!one) return;
    if (picked.thing !== one.thing) {
      picked.thing = one.thing;
      picked.replaceChildren(thingLink(one.thing), badge(""), h("span"), button("×", () => pick(null, false), { class: "plain", "aria-label": "Choose none" }));
    }
    setBadge(picked.children[1], STATE_WORDS[one.state], STATE_TONES[one.state]);
    say(picked.children[2], `${one.product ?? ""}, ${ago(one.at)}`);
  }

  let labelled = 0;
  function label() {
    if (performance.now() - labelled < 10_000) return;
    labelled = performance.now();
    const inAlarm = [...vehicles.values()].filter((one) => one.state === "alarm").length;
    canvas.setAttribute("aria-label", `Map of ${count(vehicles.size)} vehicles, ${count(inAlarm)} in alarm. The table has the same.`);
  }

  if (chosen) followed = true;
  ask();
  return {
    draw() {
      if (followed && vehicles.has(chosen) && place.width) {
        followed = false;
        pick(chosen, true);
      }
      draw();
      label();
    },
    leave() {
      alive = false;
      clearTimeout(timer);
      sized.disconnect();
      leave();
    },
  };
}

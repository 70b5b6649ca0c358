// What the pages of a load share: elements, numbers, polling, charts. Text goes in as text, never as HTML.

export function el(name, attributes = {}, ...children) {
  const made = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) made.setAttribute(key, value);
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

export const at = (id) => document.getElementById(id);

export function fill(parent, ...children) { parent.replaceChildren(...children); }

export function put(id, text) { const node = at(id); if (node.textContent !== String(text)) node.textContent = text; }

export function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  return value.toLocaleString("en", { maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : 2 });
}

export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return s + " s";
  const two = (n) => String(n).padStart(2, "0");
  return s < 7200 ? Math.floor(s / 60) + ":" + two(s % 60) : Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) + ":" + two(s % 60);
}

// Asks again and again, not while nobody looks. `show` gets the answer; `lost` hears why there was none.
export function poll(address, everyMs, show, lost) {
  let timer = null;
  const ask = async () => {
    clearTimeout(timer);
    const stop = AbortSignal.timeout ? AbortSignal.timeout(10000) : undefined;
    try {
      const answer = await fetch(address, { cache: "no-store", signal: stop, headers: { accept: "application/json" } });
      if (!answer.ok || answer.redirected) throw new Error(answer.redirected ? "log in again" : "HTTP " + answer.status);
      show(await answer.json());
    } catch (error) { lost(error.message || String(error)); }
    if (!document.hidden) timer = setTimeout(ask, everyMs);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  ask();
}

function scale(high) {
  const rough = Math.max(high, 1e-9) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const count = Math.max(1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, i) => i * step);
}

// A figure with lines over time. `lines`: [{name, values}], one value (or null) for each of `times` (seconds).
export function chart(figure, title, times, lines, unit = "") {
  const known = lines.flatMap((line) => line.values.filter((value) => value !== null));
  const latest = lines.map((line) => line.name + " " + number(line.values.findLast((value) => value !== null)) + (unit && " " + unit));
  if (!known.length) { fill(figure, el("figcaption", {}, title), el("p", { class: "none" }, "Nothing yet.")); return; }
  const ticks = scale(Math.max(...known) || 1), top = ticks[ticks.length - 1];
  const first = times[0], last = Math.max(times[times.length - 1], first + 1);
  const x = (t) => (1000 * (t - first)) / (last - first), y = (v) => 1000 * (1 - v / top);
  const svg = el("svg:svg", { viewBox: "0 0 1000 1000", preserveAspectRatio: "none", role: "img", "aria-label": title + ": now " + latest.join(", ") });
  for (const tick of ticks) svg.append(el("svg:path", { d: `M0 ${y(tick)}H1000`, class: "grid" }));
  lines.forEach((line, i) => {
    let steps = "", pen = "M";
    line.values.forEach((value, j) => {
      if (value === null) { pen = "M"; return; }
      steps += `${pen}${x(times[j]).toFixed(1)} ${y(value).toFixed(1)}`; pen = "L";
    });
    if (steps) svg.append(el("svg:path", { d: steps, class: "line-" + (i + 1) }));
  });
  const around = el("div", { "aria-hidden": "true" });
  for (const tick of ticks) {
    const label = el("span", { class: "y" }, number(Number(tick.toPrecision(6))));
    label.style.bottom = 100 * (tick / top) + "%"; around.append(label);
  }
  for (let i = 0; i <= 4; i++) {
    const label = el("span", { class: "x" }, span(first + ((last - first) * i) / 4));
    label.style.left = 25 * i + "%"; around.append(label);
  }
  const parts = [el("figcaption", {}, title), el("div", { class: "plot" }, svg, around)];
  if (lines.length > 1) parts.push(el("ul", { class: "legend" }, ...lines.map((line, i) => el("li", { class: "line-" + (i + 1) }, line.name))));
  fill(figure, ...parts);
}

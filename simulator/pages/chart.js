// Curves on a canvas: one device pixel grid, drawn only when something changed, their numbers said beside them.
import { h } from "./dom.js";
import { number, time } from "./words.js";

const PATIENCE = 220; // points in a curve as wide as a card: more cannot be seen

let ink = null;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  ink = null;
  for (const canvas of document.querySelectorAll("canvas")) canvas.dispatchEvent(new Event("ink"));
});

// The style sheet's colours, which a canvas has to be told.
export function inks() {
  if (ink) return ink;
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "soft", "line", "grid", "card", "paper", "accent", "accent-back", "good", "bad", "action", "track", "idle"];
  ink = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  ink.font = `11px ${style.getPropertyValue("--font").trim()}`;
  return ink;
}

// Fits a canvas to its box; gives what to draw with, in CSS pixels. Null while it is not to be seen.
export function sheet(canvas) {
  const width = canvas.clientWidth, height = canvas.clientHeight, scale = Math.min(devicePixelRatio || 1, 2);
  if (!width || !height) return null;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

// Round numbers between low and high, about so many.
export function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

// As many digits as tell one step from the next.
function labels(steps) {
  const digits = steps.length > 1 ? Math.max(0, Math.min(6, -Math.floor(Math.log10(steps[1] - steps[0]) + 1e-9))) : 1;
  const format = new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return steps.length > 1 ? (value) => format.format(value) : number;
}

// One quantity over time. draw({times, values, begin, end, limits, marks}): arrays of equal length, null for a gap.
export function curve(label, unit = "", { zero = false, tall = false } = {}) {
  const canvas = h("canvas", { class: tall ? "curve tall" : "curve", role: "img", "aria-label": label });
  let last = null, labelled = 0;
  const again = () => last && paint(canvas, last, unit, zero, tall);
  canvas.addEventListener("ink", again);
  new ResizeObserver(again).observe(canvas);
  return {
    element: canvas,
    draw(shown) {
      last = shown;
      paint(canvas, shown, unit, zero, tall);
      const now = performance.now();
      if (now - labelled > 5000 || !labelled) {
        labelled = now;
        canvas.setAttribute("aria-label", summary(label, unit, shown));
      }
    },
  };
}

function summary(label, unit, { values }) {
  const known = values.filter((value) => Number.isFinite(value));
  if (!known.length) return `${label}: no values yet`;
  const said = (value) => `${number(value)}${unit && ` ${unit}`}`;
  const least = known.reduce((a, b) => Math.min(a, b)), most = known.reduce((a, b) => Math.max(a, b));
  return `${label}: now ${said(known[known.length - 1])}, between ${said(least)} and ${said(most)}`;
}

function paint(canvas, { times, values, begin, end, limits = [], marks = [] }, unit, zero, tall) {
  const on = sheet(canvas);
  if (!on) return;
  const { pen, width, height } = on, { ink: text, soft, grid, accent, bad, font } = { ...inks() };
  const right = 6, top = 8, bottom = tall ? 20 : 16;
  let low = Infinity, high = -Infinity;
  for (const value of values) if (Number.isFinite(value)) { if (value < low) low = value; if (value > high) high = value; }
  if (low > high) { low = 0; high = 1; }
  if (zero) low = Math.min(0, low);
  if (low === 0 && high === 0) high = 1;
  if (high - low < 1e-9) { const room = Math.abs(high) * 0.05 || 1; if (!zero) low -= room; high += room; }
  const room = (high - low) * 0.08;
  high += room;
  if (!zero) low -= room;
  pen.font = font;
  const steps = ticks(low, high, tall ? 4 : 3), label = labels(steps), left = 10 + Math.max(22, ...steps.map((value) => pen.measureText(label(value)).width));
  const x = (t) => left + ((t - begin) / (end - begin || 1)) * (width - left - right);
  const y = (v) => top + (1 - (v - low) / (high - low)) * (height - top - bottom);
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const value of steps) {
    const at = Math.round(y(value)) + 0.5;
    pen.strokeStyle = grid;
    line(pen, left, at, width - right, at);
    pen.fillStyle = soft;
    pen.fillText(label(value), left - 6, at);
  }
  pen.textBaseline = "alphabetic";
  const stretch = end - begin;
  if (stretch > 0) {
    pen.fillStyle = soft;
    pen.textAlign = "left";
    pen.fillText(time(begin), left, height - 3);
    pen.textAlign = "right";
    pen.fillText(time(end), width - right, height - 3);
  }
  for (const limit of limits) if (limit > low && limit < high) {
    pen.strokeStyle = bad;
    pen.setLineDash([4, 4]);
    line(pen, left, Math.round(y(limit)) + 0.5, width - right, Math.round(y(limit)) + 0.5);
    pen.setLineDash([]);
  }
  for (const { at, tone } of marks) if (at >= begin && at <= end) {
    pen.strokeStyle = inks()[tone] || text;
    pen.globalAlpha = 0.55;
    line(pen, Math.round(x(at)) + 0.5, top, Math.round(x(at)) + 0.5, height - bottom);
    pen.globalAlpha = 1;
  }
  pen.strokeStyle = accent;
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  pen.beginPath();
  let drawn = false, points = 0;
  const every = Math.max(1, Math.floor(times.length / (PATIENCE * 3)));
  for (let i = 0; i < times.length; i++) {
    if (every > 1 && i % every && i !== times.length - 1) continue;
    if (!Number.isFinite(values[i])) { drawn = false; continue; }
    if (times[i] < begin) continue;
    if (drawn) pen.lineTo(x(times[i]), y(values[i]));
    else pen.moveTo(x(times[i]), y(values[i]));
    drawn = true;
    points++;
  }
  pen.stroke();
  if (points) {
    const at = values.length - 1;
    if (Number.isFinite(values[at])) {
      pen.fillStyle = accent;
      pen.beginPath();
      pen.arc(x(times[at]), y(values[at]), 2.5, 0, 7);
      pen.fill();
    }
  }
}

export function line(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

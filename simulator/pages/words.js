// Numbers, times and events in words.

const whole = new Intl.NumberFormat("en-US");
const tenth = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1, minimumFractionDigits: 1 });

export const count = (value) => (Number.isFinite(value) ? whole.format(Math.round(value)) : "–");

export function number(value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  if (Number.isInteger(value)) return whole.format(value);
  if (Math.abs(value) >= 1000) return whole.format(Math.round(value));
  if (Math.abs(value) >= 10) return tenth.format(value);
  return String(Number(value.toPrecision(3)));
}

export function rate(value) {
  if (!Number.isFinite(value)) return "–";
  return value >= 100 ? whole.format(Math.round(value)) : tenth.format(value);
}

export function span(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 0) ms = 0;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59950) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, "0")} min`;
}

// How long ago, in whole seconds: it is said again every second.
export const ago = (ms, now = Date.now()) => (!ms ? "never" : now - ms < 60_000 ? `${Math.max(0, Math.round((now - ms) / 1000))} s ago` : `${span(now - ms)} ago`);

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const time = (ms) => (ms ? clock.format(ms) : "–");

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

// kind → [words, tone, dull]; a kind that is not here is called by its own name
const EVENTS = {
  connected: ["connected", "plain", true], disconnected: ["disconnected", "plain", true],
  fault_injected: ["fault injected", "bad"], fault_cleared: ["fault cleared", "good"],
  disturbed: ["message disturbed", "plain", true], waited_in_vain: ["waited in vain", "bad"],
  desired_set: ["desired state set", "action"], control_sent: ["control request sent", "action"],
  firmware_published: ["firmware published", "action"], job_made: ["job made", "action"],
  part_kill: ["part killed", "bad"], part_restart: ["part restarted", "bad"], part_pause: ["part paused", "bad"],
  part_back: ["part back", "good"], provisioned: ["provisioning told", "plain", true],
  child_joined: ["child joined", "plain", true], child_left: ["child left", "plain", true],
  out_of_range: ["out of range", "bad"], back_in_range: ["in range again", "good"],
  alert_raised: ["device alerts", "bad"], alert_cleared: ["device's alert over", "good"],
  alarm_raised: ["alarm raised", "bad"], alarm_risen: ["alarm risen", "bad"], alarm_level: ["alarm level", "bad"],
  command_sent: ["command sent", "action"], command_failed: ["command not sent", "bad"],
  delta_received: ["device received it", "action", true], request_received: ["device received it", "action", true],
  acted: ["device acted", "action"], control_result: ["result received", "action"],
  in_range: ["back in range", "good"], relapsed: ["relapsed", "bad"], action_timed_out: ["timed out", "bad"],
  job_created: ["job created", "action"], job_notified: ["device notified", "action"],
  download_started: ["download started", "plain", true], download_progress: ["download progress", "plain", true],
  download_broken: ["download broken off", "bad"], download_resumed: ["download resumed", "plain", true],
  downloaded: ["downloaded", "action"], verified: ["verified", "good"], verify_failed: ["verification failed", "bad"],
  installed: ["installed", "action"], rebooting: ["rebooting", "action"], version_reported: ["version reported", "good"],
  job_succeeded: ["job succeeded", "good"], job_failed: ["job failed", "bad"], job_ended: ["job ended", "plain"],
  setting_changed: ["setting changed", "good"], setting_refused: ["setting refused", "bad"],
  alarm_closed: ["alarm closed", "good"], alarm_escalated: ["alarm escalated", "bad"],
  dispatch_opened: ["dispatch opened", "bad"], dispatch_assigned: ["dispatch assigned", "action"],
  dispatch_on_the_way: ["engineer on the way", "action"], dispatch_on_site: ["engineer on site", "action"],
  dispatch_done: ["dispatch done", "good"], dispatch_cancelled: ["dispatch cancelled", "plain"],
  notified: ["somebody notified", "plain", true], notification_sent: ["notification sent", "plain", true],
  upload_started: ["upload started", "plain", true], uploaded: ["uploaded", "good", true],
  step_by_hand: ["step by hand", "action"], step_refused: ["step refused", "bad"],
};

export function word(kind) {
  const [name, tone = "plain", dull = false] = EVENTS[kind] ?? [kind.replaceAll("_", " ")];
  return { name, tone, dull };
}

const FIRST = ["fault", "rule_id", "action", "name", "step", "version", "result", "status", "state", "reason", "error", "why"];
const UNSAID = new Set(["alarm_id", "action_id", "id", "job", "job_id", "thing", "device_timestamp", "kind", "metric",
  "value", "limit", "params", "condition", "signal", "package"]);

export function detail(said) {
  if (!said || typeof said !== "object") return said === undefined || said === null ? "" : String(said);
  const parts = [];
  const metric = said.metric ?? said.signal;
  if (metric && typeof said.value === "number") parts.push(`${metric} ${number(said.value)}`);
  for (const name of FIRST) if (said[name] !== undefined && said[name] !== "" && said[name] !== null) parts.push(plain(said[name]));
  if (said.percent !== undefined) parts.push(`${number(said.percent)} %`);
  for (const [name, value] of Object.entries(said)) {
    if (FIRST.includes(name) || UNSAID.has(name) || name === "percent" || value === null || value === "") continue;
    if (name.endsWith("_at_ms")) continue;
    if (name === "size") parts.push(`${plain(value)} bytes`);
    else if (name.endsWith("_ms")) parts.push(`${name.slice(0, -3).replaceAll("_", " ")} ${span(value)}`);
    else parts.push(`${name.replaceAll("_", " ")} ${plain(value)}`);
  }
  return parts.join(", ").slice(0, 200);
}

function plain(value) {
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (value && typeof value === "object") return Object.values(value).map(plain).join(" ");
  return String(value);
}

export const ALARM_TONES = {
  open: "bad", acting: "action", verifying: "action", updating: "action", escalated: "bad", closed: "good",
};
export const ALARM_WORDS = {
  open: "open", acting: "command sent", verifying: "measuring again", updating: "updating", escalated: "escalated",
  closed: "closed",
};
export const LEVELS = ["NORMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"];
export const LEVEL_TONES = { NORMAL: "good", LOW: "plain", MEDIUM: "action", HIGH: "bad", CRITICAL: "bad" };
export const JOB_STATES = ["SUCCEEDED", "IN_PROGRESS", "QUEUED", "FAILED", "TIMED_OUT", "REJECTED", "CANCELED", "REMOVED"];
export const JOB_TONES = { SUCCEEDED: "good", IN_PROGRESS: "action", QUEUED: "plain", COMPLETED: "good" };
export const jobTone = (status) => JOB_TONES[status] ?? "bad";
export const low = (text) => String(text ?? "").toLowerCase().replaceAll("_", " ");

// A word for a metric's unit, from its name: profiles end it with one, fire sensors have their own.
const UNITS = {
  temp_c: "°C", ambient_c: "°C", kmh: "km/h", rpm: "rpm", percent: "%", g: "g", voltage: "V", km: "km", volt: "V",
  voltLow: "V", current: "A", ct: "A", leakage_current: "mA", resistive_leakage: "mA", zct: "mA", rzct: "mA", power: "kW",
  pwr: "kW", pcbTemp: "°C", sensorTemp: "°C", co: "ppm", voc: "µg/m³", latitude: "°", longitude: "°", tempC: "°C",
  dbm: "dBm", uptime_s: "s", bar: "bar",
};
// What is measured, without its unit: engine_temp_c is the engine temp.
export function quantity(metric) {
  const end = metric.lastIndexOf("_"), last = metric.slice(end + 1);
  return (end > 0 && (last === "c" || UNITS[last]) ? metric.slice(0, end) : metric).replaceAll("_", " ");
}

export function unit(metric) {
  if (UNITS[metric]) return UNITS[metric];
  const end = Object.keys(UNITS).find((name) => metric.endsWith(`_${name}`));
  return end ? UNITS[end] : "";
}

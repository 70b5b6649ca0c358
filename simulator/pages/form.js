// Forms that do something to the fleet: what is chosen becomes a step of the scenario language, and both the call and
// what it came to are shown.
import * as api from "./api.js";
import { button, card, coded, h, mark, say } from "./dom.js";
import { fleet, mayControl, now } from "./fleet.js";
import { low, time } from "./words.js";

let ids = 0;

// A labelled control. `draw` is called with its value whenever it changes.
export function field(label, control, help) {
  const id = (control.id ||= `field-${++ids}`);
  const about = help ? h("small", { id: `${id}-about` }, coded(help)) : null;
  if (about) control.setAttribute("aria-describedby", about.id);
  return h("div", { class: control.type === "checkbox" ? "field check" : "field" }, h("label", { for: id }, label), control, about);
}

export const choice = (options, props = {}) =>
  h("select", props, options.map((option) => {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    return h("option", { value }, text);
  }));

// `{kind: hang, part: fan_level, at: [1, 2]}` as an object: the flow style of YAML, as far as examples use it.
export function flow(text) {
  if (typeof text !== "string") return text ?? {};
  let at = 0;
  const skip = () => { while (/\s/.test(text[at] ?? "")) at++; };
  function value() {
    skip();
    if (text[at] === "{") return within("}", {}, (found) => {
      const name = bare(":");
      at++;
      found[name] = value();
    });
    if (text[at] === "[") return within("]", [], (found) => found.push(value()));
    if (text[at] === '"' || text[at] === "'") {
      const end = text.indexOf(text[at], at + 1), inner = text.slice(at + 1, end);
      at = end + 1;
      return inner;
    }
    return scalar(bare(",}]"));
  }
  function within(end, found, one) {
    at++;
    for (skip(); at < text.length && text[at] !== end; skip()) {
      one(found);
      skip();
      if (text[at] === ",") at++;
    }
    at++;
    return found;
  }
  function bare(ends) {
    skip();
    const begin = at;
    while (at < text.length && !ends.includes(text[at])) at++;
    return text.slice(begin, at).trim();
  }
  return value();
}

// What somebody typed: a number, true, a list; anything else is text.
function scalar(text) {
  if (/^-?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text)) return Number(text);
  if (text === "true" || text === "false") return text === "true";
  if (text === "null" || text === "~" || text === "") return null;
  if (text[0] === "[" || text[0] === "{") {
    try {
      return JSON.parse(text);
    } catch {
      return flow(text);
    }
  }
  return text;
}

const shown = (value) => (value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));

// The card with the buttons for a demo. `scope`: {things: [name], profile} for a device, {} for the whole fleet.
export function actions(scope, { only, title = "Try it" } = {}) {
  const makers = {
    inject: ["Inject a fault", injectForm], clear: ["Clear faults", clearForm], control: ["Send a command", commandForm],
    set: ["Set desired state", settingForm], job: ["Create a job", jobForm], firmware: ["Publish firmware", firmwareForm],
  };
  const names = only ?? Object.keys(makers);
  const place = h("div", { class: "form" });
  const buttons = names.map((name) => button(makers[name][0], () => open(name), { "aria-pressed": "false", "data-action": name }));
  const element = card(title, h("div", { class: "choices", role: "group", "aria-label": title }, buttons), place);
  element.classList.add("try");

  function open(name) {
    buttons.forEach((one, i) => mark(one, "aria-pressed", names[i] === name ? "true" : "false"));
    place.replaceChildren(stepForm(makers[name][1](scope)));
  }

  return {
    element,
    draw() {
      element.hidden = !mayControl();
      if (!element.hidden && !place.firstChild) open(names[0]);
    },
  };
}

// parts: {fields, body(), press: text of the button, sent(): it was done}
function stepForm({ fields, body, press, sent }) {
  const call = h("pre", { tabindex: "0", "aria-label": "The call" });
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  const send = h("button", { type: "submit", class: "main" }, press);
  const form = h("form", { novalidate: true }, h("div", { class: "fields" }, fields),
    h("div", { class: "send" }, send), h("details", {}, h("summary", {}, "The call this makes"), call), answer);

  function preview() {
    say(call, `POST ${new URL("control/steps", api.base).pathname}\n${JSON.stringify(body(), null, 1).replace(/\n\s*/g, " ")}`);
  }
  form.addEventListener("input", preview);
  form.addEventListener("redraw", preview);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      const said = await api.step(body());
      answer.replaceChildren(
        h("p", { class: "done" }, `Done at ${time(said.at_ms)}. As a step of a scenario, and what it calls:`),
        h("pre", { tabindex: "0", "aria-label": "The step as YAML" }, said.yaml.trim()),
        h("ul", { class: "calls" }, said.calls.map((one) => h("li", {}, h("code", {}, one)))));
      sent?.();
      preview();
      now("fleet");
    } catch (error) {
      answer.replaceChildren(h("div", { class: "refused", role: "alert" },
        error.message.split("\n").map((line) => h("p", {}, line.replace(/^step:\d+:\d+: /, "")))));
    } finally {
      send.disabled = false;
    }
  });
  preview();
  return form;
}

// Whom it befalls: this device, or some of a profile. `fitting()`: the profiles that can have it, null where all can.
function whom(scope, fitting = () => null) {
  if (scope.things) return { fields: [], body: () => ({ things: scope.things }) };
  const profiles = Object.keys(fleet.kinds.signals).sort(); // of this run
  const profile = choice([["*", "any"], ...profiles]), any = profile.firstChild;
  const many = h("input", { type: "number", min: "1", value: "1", inputmode: "numeric" });
  // Null when it makes no difference: all of the fleet can, or none, which the server says better.
  function some() {
    const found = profiles.filter((name) => fitting()?.includes(name) ?? true);
    return found.length && found.length < profiles.length ? found : null;
  }
  return {
    fields: [field("Devices of profile", profile), field("How many", many, "Empty: all of them.")],
    draw: () => say(any, some() ? "any that can have it" : "any"),
    body: () => ({
      ...(profile.value !== "*" ? { profiles: [profile.value] } : some() ? { profiles: some() } : {}), ...(many.value ? { count: Number(many.value) } : {}),
    }),
  };
}

const SIGNALS = ["part", "signal", "other"]; // fields that name one of the device's
const COMMON = ["for_s", "ramp_s", "probability", "harmless"];

const FIRST = ["hang", "fire", "overheat", "disconnect"]; // what is offered first, if it fits

function injectForm(scope) {
  const families = new Map();
  for (const fault of fleet.kinds.faults) {
    const family = fault.befalls === "sandbox" ? "cloud and backend" : fault.family || "other";
    if (scope.things && fault.befalls === "sandbox") continue;
    if (!families.has(family)) families.set(family, []);
    families.get(family).push(fault);
  }
  const kind = h("select", {}, [...families].map(([family, faults]) =>
    h("optgroup", { label: family }, faults.map((fault) => h("option", { value: fault.kind }, fault.kind)))));
  const here = scope.profile ? [scope.profile] : Object.keys(fleet.kinds.signals);
  const first = FIRST.find((name) => fleet.kinds.faults.some((fault) => fault.kind === name && fault.fits.some((of) => here.includes(of))));
  if (first) kind.value = first;
  const about = h("p", { class: "about" });
  const own = h("div", { class: "fields" }), more = h("div", { class: "fields" });
  const chosen = () => fleet.kinds.faults.find((one) => one.kind === kind.value);
  let read = () => ({}), touched = () => false;
  const who = whom(scope, () => {
    if (!touched()) return chosen().fits;
    const names = Object.entries(read()).filter(([name]) => SIGNALS.includes(name)).map(([, value]) => value);
    return Object.entries(fleet.kinds.signals).filter(([, signals]) => names.every((name) => signals.includes(name))).map(([profile]) => profile);
  });

  function fill() {
    const fault = chosen(), example = flow(fault.example);
    about.replaceChildren(...coded(fault.about));
    const inputs = fault.fields.map((one) => [one, input(one, example[one.name])]);
    const main = ([one]) => one.required || (one.name in example);
    own.replaceChildren(...inputs.filter(main).map(([one, control]) => field(one.name, control, one.about)));
    more.replaceChildren(...inputs.filter((each) => !main(each)).map(([one, control]) => field(one.name, control, one.about)));
    read = () => Object.fromEntries(inputs.map(([one, control]) => [one.name, valueOf(control), one.default])
      .filter(([, value, usual]) => value !== null && value !== usual).map(([name, value]) => [name, value]));
    const named = inputs.filter(([one]) => SIGNALS.includes(one.name)).map(([, control]) => [control, control.value]);
    touched = () => named.some(([control, before]) => control.value !== before);
    who.draw?.();
  }
  kind.addEventListener("input", fill);
  own.addEventListener("input", () => who.draw?.());
  fill();
  return {
    fields: [field("Fault", kind), ...who.fields, h("div", { class: "whole" }, about, own, h("details", {}, h("summary", {}, "More"), more))],
    body: () => {
      const fault = { kind: kind.value, ...read() };
      return { kind: "inject", ...(chosen().befalls === "sandbox" ? {} : who.body()), fault };
    },
    press: scope.things ? "Inject it here" : "Inject it",
  };
}

function input(said, value) {
  if (said.enum) return choice(said.required ? said.enum : ["", ...said.enum]);
  if (said.type === "boolean") return h("input", { type: "checkbox", checked: value ?? said.default ?? false });
  const usual = COMMON.includes(said.name) ? "" : said.default;
  const type = said.type === "number" || said.type === "integer" ? "number" : "text";
  return h("input", { type, step: "any", value: shown(value ?? usual), autocomplete: "off", spellcheck: "false" });
}

const valueOf = (control) =>
  control.type === "checkbox" ? control.checked : control.type === "number" ? (control.value === "" ? null : Number(control.value)) : scalar(control.value.trim());

function clearForm(scope) {
  const own = scope.things ? (fleet.devices.get(scope.things[0])?.faults ?? []) : [...new Set([...fleet.devices.values()].flatMap((device) => device.faults))].sort();
  const kind = choice([["", "all of them"], ...own]);
  return {
    fields: [field("Faults", kind, own.length ? null : "There is none now.")],
    body: () => ({ kind: "clear", ...(scope.things ? { things: scope.things } : {}), ...(kind.value ? { fault: kind.value } : {}) }),
    press: scope.things ? "Clear them here" : "Clear them",
  };
}

function commandsOf(scope) {
  const all = Object.entries(fleet.kinds.commands);
  const some = scope.profile ? all.filter(([profile]) => profile === scope.profile) : all;
  return {
    actions: [...new Set(some.flatMap(([, said]) => said.actions))].sort(),
    settings: Object.assign({}, ...some.map(([, said]) => said.settings)),
  };
}

function commandForm(scope) {
  const { actions: names } = commandsOf(scope);
  const action = h("input", { value: names[0] ?? "reboot", list: "commands", autocomplete: "off", spellcheck: "false" });
  const value = h("input", { autocomplete: "off", spellcheck: "false" });
  const by = choice([["shadow", "the shadow"], ["control", "a control request"]]);
  const who = whom(scope);
  const newId = () => `by-hand-${Date.now().toString(36)}`; // a device takes each id once
  let id = newId();
  const known = h("datalist", { id: "commands" }, names.map((name) => h("option", { value: name })));
  return {
    fields: [field("Command", action, names.length ? `It knows ${names.join(", ")}.` : null), known, field("By", by, "A device without control requests hears its shadow only."),
      ...who.fields, field("Value", value, "For commands that take one.")],
    body: () => {
      const given = value.value === "" ? {} : { value: scalar(value.value) };
      if (by.value === "control") return { kind: "control", ...who.body(), action: action.value, ...given };
      return { kind: "set", ...who.body(), desired: { action: { name: action.value, id, ...given } } };
    },
    sent: () => (id = newId()),
    press: "Send it",
  };
}

function settingForm(scope) {
  const { actions: names, settings } = commandsOf(scope);
  const first = Object.keys(settings)[0];
  const start = first ? { [first]: settings[first].max ?? settings[first].start } : names[0] ? { action: { name: names[0], id: "by-hand-1" } } : {};
  const desired = h("textarea", { rows: "3", spellcheck: "false" });
  desired.value = JSON.stringify(start);
  const who = whom(scope);
  return {
    fields: [...who.fields, field("Desired", desired, "JSON; it goes into the classic shadow.")],
    body: () => {
      let said = desired.value;
      try {
        said = JSON.parse(desired.value);
      } catch { /* the server says what is wrong with it */ }
      return { kind: "set", ...who.body(), desired: said };
    },
    press: "Set it",
  };
}

function versions(scope) {
  const all = Object.entries(fleet.kinds.firmware).filter(([profile]) => !scope.profile || profile === scope.profile);
  return [...new Set(all.flatMap(([, said]) => said))].sort().reverse();
}

function jobForm(scope) {
  const version = choice(versions(scope));
  const rate = h("input", { type: "number", min: "1", max: "1000" });
  const who = whom(scope);
  return {
    fields: [field("Version", version), ...who.fields, field("At most a minute", rate, "Devices; empty: all at once.")],
    body: () => ({ kind: "create_job", ...who.body(), version: version.value, ...(rate.value ? { rate_per_minute: Number(rate.value) } : {}) }),
    press: "Create the job",
  };
}

function firmwareForm() {
  const version = h("input", { value: versions({})[0] ?? "1.1.0", list: "versions", autocomplete: "off", spellcheck: "false" });
  const signed = h("input", { type: "checkbox", checked: true });
  return {
    fields: [field("Version", version, "One of the folder firmware/, or any name for a new one."),
      h("datalist", { id: "versions" }, versions({}).map((value) => h("option", { value }))), field("Signed by our key", signed)],
    body: () => ({ kind: "publish_firmware", version: version.value, ...(signed.checked ? {} : { signed: false }) }),
    press: "Publish it",
  };
}

export const spoken = low;

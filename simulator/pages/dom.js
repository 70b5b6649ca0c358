// Elements. Text comes in as text: nothing here, nor anywhere else, takes HTML.

export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [kind, handler] of Object.entries(value)) element.addEventListener(kind, handler);
    else if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Changes only what differs, so that a page at rest is at rest for the browser too.
export function say(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

// What stands between backticks is code.
export const coded = (text) => text.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));

export function mark(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// One child for each item, in order, each kept as long as its key is there.
export function keyed(parent, items, key, make, draw) {
  const kept = (parent.kept ??= new Map());
  const wanted = new Set();
  let place = parent.firstElementChild;
  for (const item of items) {
    const id = key(item);
    if (wanted.has(id)) continue;
    wanted.add(id);
    let child = kept.get(id);
    if (!child) kept.set(id, (child = make(item)));
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    draw(child, item);
  }
  for (const [id, child] of kept) {
    if (wanted.has(id)) continue;
    child.remove();
    kept.delete(id);
  }
}

// What a view is made of.
export const card = (title, ...children) =>
  h("section", { class: "card" }, title ? h("h2", {}, title) : null, ...children);

export const badge = (text, tone = "plain") => h("span", { class: `badge ${tone}` }, text);

export function setBadge(element, text, tone = "plain") {
  say(element, text);
  const name = `badge ${tone}`;
  if (element.className !== name) element.className = name;
}

export const thingLink = (thing) => h("a", { href: `#/device/${encodeURIComponent(thing)}`, class: "thing" }, thing);

export const button = (text, press, props = {}) => h("button", { type: "button", ...props, on: { click: press } }, text);

// Told to who cannot see it; the same thing is not told twice, and nothing more often than every few seconds.
let told = 0;
export function tell(text, now = performance.now()) {
  const place = document.querySelector("#said");
  if (place.textContent === text || now - told < 4000) return;
  told = now;
  place.textContent = text;
}

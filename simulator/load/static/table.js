import { at, el, fill, number, poll, put } from "./page.js";

let rows = [], key = "method", down = false;
const heads = [...document.querySelectorAll("th[data-key]")];

function draw() {
  const wanted = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (row) => [row.method, row.name, ...Object.keys(row.reasons)].join(" ").toLowerCase();
  const chosen = rows.filter((row) => wanted.every((part) => text(row).includes(part)));
  const compare = (a, b) => (typeof a[key] === "string" ? a[key].localeCompare(b[key]) : a[key] - b[key]) || a.name.localeCompare(b.name);
  chosen.sort((a, b) => (down ? -1 : 1) * compare(a, b));
  fill(at("body"), ...chosen.map((row) => el("tr", {},
    el("td", {}, row.method), el("th", { scope: "row" }, row.name),
    ...["count", "per_s", "p50_ms", "p95_ms", "p99_ms", "max_ms"].map((name) => el("td", { class: "number" }, number(row[name]))),
    el("td", { class: "number" }, row.failed ? el("span", { class: "badge bad" }, number(row.failed)) : "0"),
    el("td", {}, Object.entries(row.reasons).map(([why, n]) => `${number(n)} × ${why}`).join(", ")))));
  at("empty").hidden = rows.length > 0;
}

for (const head of heads) {
  head.querySelector("button").addEventListener("click", () => {
    down = key === head.dataset.key ? !down : typeof (rows[0] || {})[head.dataset.key] === "number";
    key = head.dataset.key;
    for (const other of heads) other.setAttribute("aria-sort", other === head ? (down ? "descending" : "ascending") : "none");
    draw();
  });
}
at("filter").addEventListener("input", draw);

poll("rows.json", 1000, (said) => {
  rows = said.rows; draw();
  if (at("said").dataset.state !== said.state) { at("said").dataset.state = said.state; put("said", said.state); }
}, (why) => { at("said").dataset.state = ""; put("said", "Locust does not answer: " + why); });

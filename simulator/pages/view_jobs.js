// How far every rollout is: by job, and by device.
import { badge, card, h, keyed, mark, say, setBadge, thingLink } from "./dom.js";
import { fleet, mayControl, need } from "./fleet.js";
import { actions } from "./form.js";
import { pagedTable } from "./table.js";
import { bar, setBar } from "./view_overview.js";
import { count, jobTone, low, number, span, time } from "./words.js";

const PARTS = [["SUCCEEDED", "good"], ["IN_PROGRESS", "action"], ["QUEUED", "idle"], ["failed", "bad"]];
const PHASE_PERCENT = { notified: 2, downloaded: 100, verified: 100, installed: 100, rebooting: 100, reported: 100 };

export function open(view, [wanted]) {
  const leave = need("overview", "jobs", "alarms", "events", "fleet", "fleetEvents", "devices");
  const chosen = wanted ?? null;
  const jobs = pagedTable({
    caption: "Jobs", key: (job) => job.id, size: 20, empty: "No job yet.", press: (job) => { location.hash = `#/jobs/${encodeURIComponent(job.id)}`; },
    columns: [
      { name: "firmware", row: true, make: (cell, job) => cell.append(h("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }), h("span", { class: "sub" })), draw: (cell, job) => {
        say(cell.firstChild, `${job.package ?? "job"} ${job.version ?? ""}`.trim());
        say(cell.lastChild, job.id);
        mark(cell.firstChild, "aria-current", job.id === chosen ? "true" : null);
      } },
      { name: "made by", tight: true, make: (cell) => cell.append(h("span")), draw: (cell, job) => say(cell.firstChild, job.alarm ? "an alarm" : "an operator") },
      { name: "progress", make: (cell) => cell.append(bar(PARTS.map(([, tone]) => tone))), draw: (cell, job) => setBar(cell.firstChild, PARTS.map(([part]) => job.parts[part])) },
      { name: "devices", number: true, draw: (cell, job) => say(cell, `${count(job.parts.SUCCEEDED)} of ${count(job.of.length)}`) },
      { name: "failed", number: true, draw: (cell, job) => say(cell, count(job.parts.failed)) },
      { name: "created", number: true, hide: true, draw: (cell, job) => say(cell, time(job.created)) },
      { name: "took", number: true, draw: (cell, job) => say(cell, job.created ? span((job.ended ?? Date.now()) - job.created) : "") },
    ],
  });
  const title = h("h2", { id: "job" }), note = h("p", { class: "none" });
  const each = pagedTable({
    caption: "Devices of the job", key: (one) => one.thing, size: 25, empty: "No device.",
    columns: [
      { name: "device", row: true, make: (cell, one) => cell.append(thingLink(one.thing)), draw: () => {} },
      { name: "status", make: (cell) => cell.append(badge("")), draw: (cell, one) => setBadge(cell.firstChild, low(one.status), jobTone(one.status)) },
      { name: "progress", make: (cell) => cell.append(h("progress", { max: "100" }), h("span", { class: "sub" })), draw: (cell, one) => {
        const percent = one.status === "SUCCEEDED" ? 100 : one.phase === "downloading" ? (one.percent ?? 0) : (PHASE_PERCENT[one.phase] ?? 0);
        mark(cell.firstChild, "value", Math.round(percent));
        mark(cell.firstChild, "aria-label", `${one.thing}: ${number(percent)} %`);
        say(cell.lastChild, one.ended ? (one.reason || "") : one.phase === "downloading" ? `${number(percent)} % downloaded` : (one.phase ?? "waiting"));
      } },
      { name: "took", number: true, draw: (cell, one) => say(cell, one.created ? span((one.ended ?? Date.now()) - one.created) : "") },
    ],
  });
  const one = h("section", { class: "card", "aria-labelledby": "job", hidden: true }, title, note, each.element);
  const versions = h("tbody");
  const versionCard = card("Firmware in the fleet", h("div", { class: "scroll" }, h("table", { class: "bars" }, h("caption", { class: "quiet" }, "Devices by type and version"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "type"), h("th", { scope: "col" }, "version"), h("th", { scope: "col", class: "bar" }, h("span", { class: "quiet" }, "share")), h("th", { scope: "col", class: "number" }, "devices"))), versions)));
  const demo = actions({}, { only: ["job", "firmware"], title: "Try it" });
  view.append(h("h1", {}, "Jobs"), one, h("div", { class: "columns" }, h("div", {}, card("Rollouts", jobs.element)), h("div", {}, versionCard, demo.element)));

  function draw() {
    const all = new Map();
    for (const execution of fleet.jobs.values()) {
      let job = all.get(execution.id);
      if (!job) all.set(execution.id, (job = { id: execution.id, of: [], parts: { SUCCEEDED: 0, IN_PROGRESS: 0, QUEUED: 0, failed: 0 }, created: Infinity, ended: 0 }));
      job.of.push(execution);
      job.parts[execution.status in job.parts ? execution.status : "failed"]++;
      job.package ??= execution.package ?? fleet.devices.get(execution.thing)?.product;
      job.version ??= execution.version;
      job.alarm ??= execution.alarm;
      job.created = Math.min(job.created, execution.created ?? Infinity);
      if (execution.ended) job.ended = Math.max(job.ended, execution.ended);
    }
    const list = [...all.values()];
    for (const job of list) {
      if (job.parts.IN_PROGRESS + job.parts.QUEUED) job.ended = null;
      if (job.created === Infinity) job.created = null;
    }
    list.sort((a, b) => (b.created ?? 0) - (a.created ?? 0));
    jobs.draw(list);

    const job = all.get(chosen);
    one.hidden = !job;
    if (job) {
      say(title, `${job.package ?? "Job"} ${job.version ?? ""}`.trim());
      say(note, job.id);
      const rank = { IN_PROGRESS: 0, QUEUED: 1 };
      each.draw(job.of.sort((a, b) => (rank[a.status] ?? 2) - (rank[b.status] ?? 2) || (a.thing < b.thing ? -1 : 1)));
    }

    const types = new Map();
    for (const device of fleet.devices.values()) if (device.firmware) {
      const type = device.product ?? device.profile, key = `${type} ${device.firmware}`;
      const row = types.get(key) ?? { key, type, version: device.firmware, n: 0 };
      row.n++;
      types.set(key, row);
    }
    const totals = {};
    for (const row of types.values()) totals[row.type] = (totals[row.type] ?? 0) + row.n;
    versionCard.hidden = !types.size;
    keyed(versions, [...types.values()].sort((a, b) => a.key.localeCompare(b.key)), (row) => row.key, (row) => h("tr", {}, h("th", { scope: "row" }, row.type), h("td", {}, row.version), h("td", { class: "bar" }, bar(["accent", "track"])), h("td", { class: "number" })), (element, row) => {
      setBar(element.children[2].firstChild, [row.n, totals[row.type] - row.n]);
      say(element.children[3], count(row.n));
    });
    demo.draw();
    if (!mayControl()) demo.element.hidden = true;
  }
  return { draw, leave };
}

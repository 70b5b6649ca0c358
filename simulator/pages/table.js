// A table with pages: however many items there are, so many rows are in the page and no more.
import { button, h, keyed, mark, say } from "./dom.js";
import { count } from "./words.js";

// columns: [{name, number, row, make(cell), draw(cell, item)}]; `row`: it names the row; `hide`: not on a narrow screen
export function pagedTable({ caption, columns, key, size = 50, empty = "Nothing here yet.", press, quietCaption = true }) {
  const body = h("tbody");
  const none = h("p", { class: "none" }, empty);
  const head = columns.map((column) => h("th", { scope: "col", class: classes(column) }, column.name));
  const table = h("table", {},
    h("caption", { class: quietCaption ? "quiet" : null }, caption), h("thead", {}, h("tr", {}, head)), body);
  const where = h("span", { class: "where" });
  const before = button("Previous", () => turn(-1)), next = button("Next", () => turn(1));
  const pager = h("div", { class: "pager", role: "group", "aria-label": `Pages of ${caption}` }, before, where, next);
  const box = h("div", { class: "scroll" }, table);
  const element = h("div", { class: "paged" }, box, none, pager);
  let page = 0, items = [];

  function turn(by) {
    page += by;
    show();
  }

  function show() {
    const pages = Math.max(1, Math.ceil(items.length / size));
    page = Math.min(Math.max(0, page), pages - 1);
    const begin = page * size, shown = items.slice(begin, begin + size);
    keyed(body, shown, key, makeRow, drawRow);
    none.hidden = items.length > 0;
    box.hidden = items.length === 0;
    pager.hidden = pages === 1;
    say(where, `${count(begin + 1)}–${count(begin + shown.length)} of ${count(items.length)}`);
    mark(before, "disabled", page === 0);
    mark(next, "disabled", page === pages - 1);
  }

  function makeRow(item) {
    const row = h("tr", {}, columns.map((column) => {
      const cell = column.row ? h("th", { scope: "row", class: classes(column) }) : h("td", { class: classes(column) });
      column.make?.(cell, item);
      return cell;
    }));
    if (press) row.addEventListener("click", (event) => event.target.closest("a, button") || press(row.item));
    if (press) row.className = "pressed";
    return row;
  }

  function drawRow(row, item) {
    row.item = item;
    columns.forEach((column, i) => column.draw(row.children[i], item));
  }

  show();
  return {
    element,
    draw(all) {
      items = all;
      show();
    },
    first() {
      page = 0;
    },
  };
}

const classes = (column) => [column.number && "number", column.hide && "wide", column.tight && "tight"].filter(Boolean).join(" ") || null;

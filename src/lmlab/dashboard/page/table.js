// The table of runs: only changed rows are rebuilt.

import { compact, duration, element } from "./words.js";

const SHOWN = 200; // rows, until the user asks for more

const COLUMNS = [
  { key: "name", text: "run" },
  { key: "arm", text: "arm", optional: true },
  { key: "seed", text: "seed", number: true, optional: true },
  { key: "status", text: "status" },
  { key: "done", text: "progress" },
  { key: "left", text: "left", number: true },
  { key: "tokens_per_second", text: "tokens/s", number: true, optional: true },
  { key: "created", text: "created", optional: true },
];

export class Table {
  constructor(table, more, colours, { choose, open }) {
    this.body = table.tBodies[0];
    this.more = more;
    this.colours = colours;
    this.choose = choose;
    this.open = open;
    this.selected = new Set();
    this.columns = COLUMNS;
    this.sort = { key: "created", descending: true };
    this.limit = SHOWN;
    this.built = new Map(); // key -> { row, element }
    this.head = table.tHead.rows[0];
    more.addEventListener("click", () => {
      this.limit = Infinity;
      this.show(this.shown);
    });
    this.buildHead();
  }

  // Show these metrics before the last column: [{ name, heading, better }], the first of them is never hidden.
  measure(metrics) {
    const now = JSON.stringify(metrics);
    if (now === this.measured) return;
    this.measured = now;
    const own = metrics.map(({ name, heading, better }, i) => ({ key: name, text: heading, number: true, optional: i > 0, better }));
    this.columns = [...COLUMNS.slice(0, -1), ...own, COLUMNS.at(-1)];
    this.buildHead();
    for (const entry of this.built.values()) entry.row = null; // rebuild every row
    if (this.shown) this.show(this.shown);
  }

  buildHead() {
    const cells = this.columns.map((column) => {
      const button = element("button", { type: "button", onclick: () => this.sortBy(column.key) }, column.text.replaceAll("/", "/\u200b")); // allows a line break
      return element("th", { class: classes(column), scope: "col", "data-key": column.key }, button);
    });
    this.head.replaceChildren(element("th", { scope: "col" }, element("span", { class: "skip" }, "selected")), ...cells);
    this.markSort();
  }

  sortBy(key) {
    const bestLast = this.columns.find((column) => column.key === key).better === "higher";
    this.sort = { key, descending: this.sort.key === key ? !this.sort.descending : key === "created" || bestLast };
    this.markSort();
    this.show(this.shown);
  }

  markSort() {
    for (const cell of this.head.cells) {
      const mine = cell.dataset.key === this.sort.key;
      if (mine) cell.setAttribute("aria-sort", this.sort.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  // Show runs that match the filter, as entries [key, row].
  show(entries) {
    this.shown = this.ordered(entries);
    const visible = this.shown.slice(0, this.limit);
    const keep = new Set(visible.map(([key]) => key));
    for (const [key, { element: old }] of this.built) {
      if (!keep.has(key)) {
        old.remove();
        this.built.delete(key);
      }
    }
    let before = this.body.firstElementChild;
    for (const [key, row] of visible) {
      let entry = this.built.get(key);
      if (!entry || entry.row !== row) {
        const node = this.build(key, row);
        const active = document.activeElement;
        const focused = entry?.element.contains(active) ? active.dataset.part : null;
        if (entry) {
          if (before === entry.element) before = node;
          entry.element.replaceWith(node);
        }
        this.built.set(key, (entry = { row, element: node }));
        if (focused) node.querySelector(`[data-part="${focused}"]`)?.focus();
      }
      if (entry.element === before) before = before.nextElementSibling;
      else this.body.insertBefore(entry.element, before);
    }
    this.more.hidden = this.shown.length <= this.limit;
    this.more.textContent = `Show all ${this.shown.length}`;
  }

  ordered(entries) {
    const { key, descending } = this.sort;
    const sign = descending ? -1 : 1;
    const missing = (value) => value == null || value === "";
    return [...entries].sort(([first, a], [second, b]) => {
      const [x, y] = [a, b].map((row) => row.metrics?.[key]?.value ?? row[key]);
      if (missing(x) || missing(y)) return missing(x) - missing(y) || (first < second ? -1 : 1); // missing values last
      return x < y ? -sign : x > y ? sign : first < second ? -1 : 1;
    });
  }

  build(key, row) {
    const box = element("input", { type: "checkbox", "data-part": "box", "aria-label": `select ${row.name} ${row.id}` });
    box.checked = this.selected.has(key);
    box.addEventListener("change", () => this.choose(key, box.checked));
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = this.colours.of(row.arm);
    const opens = { type: "button", "data-part": "open", onclick: () => this.open(key) };
    const open = element("button", opens, swatch, row.name);
    const bar = element("progress", { max: 1, value: row.done ?? 0, "aria-label": "progress" });
    const steps = row.steps ? `${row.step ?? (row.status === "finished" ? row.steps : 0)} of ${row.steps} steps` : "";
    bar.title = steps;
    const content = {
      name: [open, " ", element("span", { class: "id" }, [row.id.slice(0, 6), row.stage, row.start && `from ${row.start.slice(0, 6)}`].filter(Boolean).join(" "))],
      arm: [row.arm],
      seed: [String(row.seed ?? "")],
      status: [element("span", { class: row.status, title: row.error ?? "" }, row.status)],
      done: [bar],
      left: [row.status === "running" ? duration(row.left) || row.phase || "" : ""],
      tokens_per_second: [compact(row.tokens_per_second)],
      created: [row.created.slice(0, 16).replace("T", " ")],
    };
    const texts = (key) => content[key] ?? [row.metrics?.[key]?.text ?? ""];
    const cells = this.columns.map((column) => element("td", { class: classes(column) }, ...texts(column.key)));
    return element("tr", { class: this.selected.has(key) ? "selected" : "", "data-run": key }, element("td", {}, box), ...cells);
  }

  mark(key, selected) {
    if (selected) this.selected.add(key);
    else this.selected.delete(key);
    const entry = this.built.get(key);
    if (entry) {
      entry.element.classList.toggle("selected", selected);
      entry.element.querySelector("input").checked = selected;
    }
  }
}

function classes(column) {
  return [column.number && "number", column.optional && "optional", column.key === "name" && "name"].filter(Boolean).join(" ");
}

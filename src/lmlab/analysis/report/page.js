"use strict";
// Interaction with a report: theme, charts and their controls, sorting and filtering of tables, copying, printing.

const charts = JSON.parse(document.getElementById("charts").textContent);
const root = document.documentElement, systemDark = matchMedia("(prefers-color-scheme: dark)");
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// --- the theme: the system's, unless the switch says otherwise ---------------------------------------------------------
const theme = document.getElementById("theme");
const remembered = {
  get value() { try { return localStorage.getItem("lmlab-theme"); } catch { return null; } },
  set value(name) { try { localStorage.setItem("lmlab-theme", name); } catch { /* the browser stores nothing for local files */ } },
};
const isDark = () => (root.style.colorScheme || (systemDark.matches ? "dark" : "light")) === "dark";
function setTheme(name) {
  root.style.colorScheme = name ?? "";
  theme.setAttribute("aria-pressed", String(isDark()));
  redraw();
}
theme.addEventListener("click", () => {
  remembered.value = isDark() ? "light" : "dark";
  setTheme(remembered.value ?? (isDark() ? "light" : "dark"));
});
systemDark.addEventListener("change", () => setTheme(remembered.value));

// --- charts: the x axis and the hidden arms are shared by all, the scales are each chart's own ---------------------------
const shared = {axis: null, hidden: new Set()};
const drawings = new Map([...document.querySelectorAll(".drawing")].map(element => [element, {
  chart: charts[element.dataset.chart], scales: {}, seen: false, stale: true,
}]));
let drawable = false, printing = null;

function draw(element) {
  const drawing = drawings.get(element);
  drawing.stale = false;
  drawing.width = element.clientWidth;
  return drawChart(element, drawing.chart, {...shared, ...drawing.scales, axis: axisOf(drawing.chart), dark: isDark(), width: printing ?? undefined});
}
const axisOf = chart => shared.axis in chart.x ? shared.axis : Object.keys(chart.x)[0];
function redraw() {  // visible charts now, the others when they become visible
  for (const [element, drawing] of drawings) {
    drawing.stale = true;
    if (drawable && drawing.seen) draw(element);
  }
}
const sight = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    const drawing = drawings.get(target);
    drawing.seen = isIntersecting;
    if (isIntersecting && drawing.stale) draw(target);
  }
}, {rootMargin: "400px"});
const size = new ResizeObserver(entries => {
  if (printing) return;
  for (const {target} of entries) {
    const drawing = drawings.get(target);
    if (drawing.stale || target.clientWidth === drawing.width) continue;
    drawing.stale = true;
    if (drawing.seen) requestAnimationFrame(() => draw(target));
  }
});

const check = (label, checked, change, properties = {}) => {
  const box = make("input", {type: "checkbox", checked, ...properties});
  box.addEventListener("change", () => change(box.checked));
  return make("label", {}, box, label);
};
function controls(element) {
  const {chart, scales} = drawings.get(element), tools = element.parentElement.querySelector(".tools");
  const arms = new Map(chart.series.filter(series => series.arm).map(series => [series.arm, series]));  // reference lines belong to no arm
  const scale = (letter, axis) => {
    const values = chart.series.flatMap(series => letter === "x" ? series.x[axisOf(chart)] ?? [] : series.y).filter(value => value !== null);
    const log = scales[`log${letter.toUpperCase()}`] ?? axis.log;
    const impossible = values.some(value => typeof value === "string") || !values.some(value => value > 0);
    return check(`log ${letter}`, log && !impossible, on => { scales[`log${letter.toUpperCase()}`] = on; draw(element); }, {disabled: impossible});
  };
  const group = (name, label, ...children) => {
    const span = make("span", {className: `group ${name}`, ariaLabel: label}, ...children);
    span.setAttribute("role", "group");
    return span;
  };
  const groups = [group("scales", "Axes", scale("x", chart.x[axisOf(chart)]), scale("y", chart.y))];
  if (Object.keys(chart.x).length > 1) {
    const select = make("select", {}, ...Object.entries(chart.x).map(([name, axis]) => make("option", {value: name, textContent: axis.label, selected: name === axisOf(chart)})));
    select.addEventListener("change", () => {
      shared.axis = select.value;
      for (const [other, drawing] of drawings) if (shared.axis in drawing.chart.x) { delete drawing.scales.logX; if (other !== element) controls(other); }
      controls(element).querySelector("select").focus();
      redraw();
    });
    groups[0].prepend(make("label", {title: "the same in all charts that have this axis"}, "x axis", select));
  }
  if (arms.size > 1) {
    groups.unshift(group("arms", "Arms that are shown", ...[...arms].map(([arm, series]) => {
      const label = check(make("bdi", {textContent: arm}), !shared.hidden.has(arm), on => {
        shared.hidden[on ? "delete" : "add"](arm);
        for (const box of document.querySelectorAll(".arm input")) if (box.value === arm) box.checked = on;
        redraw();
      }, {value: arm});
      label.className = "arm";
      label.title = "the same in all charts";
      label.style.setProperty("--swatch", `light-dark(${series.style.line.join()})`);
      return label;
    })));
  }
  tools.replaceChildren(...groups);
  return tools;
}
function values(element) {  // the numbers of a chart as a table, built when it is opened
  const {chart} = drawings.get(element), axes = Object.entries(chart.x), id = element.dataset.chart;
  const bounds = chart.series.some(series => series.low), details = chart.series.some(series => series.details);
  const head = ["Series", ...axes.map(([, axis]) => axis.label), chart.y.label, ...(bounds ? ["low", "high"] : []), ...(details ? ["details"] : [])];
  const row = (series, i) => [...axes.map(([name]) => series.x[name]?.[i]), series.y[i], ...(bounds ? [series.low?.[i], series.high?.[i]] : []), ...(details ? [series.details?.[i]] : [])];
  const body = chart.series.flatMap(series => series.y.map((_, i) => make("tr", {}, make("th", {scope: "row"}, make("bdi", {textContent: series.name})),
    ...row(series, i).map(value => make("td", {className: typeof value === "number" ? "number" : "", textContent: value ?? "–"})))));
  const table = make("table", {}, make("caption", {className: "unseen", textContent: `${chart.title}: values`}),
    make("thead", {}, make("tr", {}, ...head.map(text => make("th", {scope: "col", textContent: text})))), make("tbody", {}, ...body));
  const box = make("div", {className: "scroll", tabIndex: 0, id: `${id}-values`}, table);
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", `${chart.title}: values`);
  return box;
}
async function loadPlotly() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), character => character.charCodeAt(0));
  const source = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(make("script", {textContent: source}));
}
async function start() {
  setTheme(remembered.value);
  if (!drawings.size) return;
  for (const element of drawings.keys()) {
    controls(element);
    element.parentElement.querySelector(".values").addEventListener("toggle", event => event.target.append(values(element)), {once: true});
  }
  await loadPlotly();
  drawable = true;
  for (const element of drawings.keys()) { sight.observe(element); size.observe(element); }
}

// --- tables ----------------------------------------------------------------------------------------------------------------
const keyOf = cell => {
  const text = cell.textContent.trim(), value = cell.dataset.value;
  if (value === undefined) return {text};
  const number = {inf: Infinity, "-inf": -Infinity}[value] ?? Number(value);  // "None" is not a number
  return Number.isNaN(number) ? {text, last: true} : {number, text};
};
const compare = (a, b) => a.number !== undefined && b.number !== undefined ? a.number - b.number || 0 : a.text.localeCompare(b.text, "en", {numeric: true});
for (const button of document.querySelectorAll(".sort")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th"), body = heading.closest("table").tBodies[0], column = heading.cellIndex;
    const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction);
    const rows = [...body.rows].map(row => ({row, key: keyOf(row.cells[column])}));
    rows.sort((a, b) => (a.key.last ?? false) - (b.key.last ?? false) || (direction === "ascending" ? 1 : -1) * compare(a.key, b.key));
    body.append(...rows.map(({row}) => row));
  });
}
for (const input of document.querySelectorAll("[data-filter]")) {
  const rows = [...document.getElementById(input.dataset.filter).tBodies[0].rows], output = input.closest(".tools").querySelector("output");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
      shown += !row.hidden;
    }
    output.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}

// --- copying and printing ----------------------------------------------------------------------------------------------------
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const pre = button.previousElementSibling, text = [...pre.querySelectorAll("bdi")].map(part => part.textContent).join("");
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    } catch {  // copying is not allowed: select the text, so that the user can copy it
      getSelection().selectAllChildren(pre);
    }
  });
}
addEventListener("beforeprint", () => {
  printing = 640;  // pixels: the width of a sheet of A4 or Letter within its margins
  setTheme("light");
  if (drawable) for (const element of drawings.keys()) draw(element);
});
addEventListener("afterprint", () => {
  printing = null;
  setTheme(remembered.value);
});
start();

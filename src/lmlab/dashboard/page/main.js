// Keep the state from the server, poll for changes, and display them.

import { draw } from "./chart.js";
import { Colours, onThemeChange } from "./colours.js";
import { Details } from "./details.js";
import { ask, send } from "./server.js";
import { Table } from "./table.js";
import { element, options } from "./words.js";

const BETWEEN = 1000; // milliseconds between two requests
const DRAWN = 12; // runs drawn if none are selected
const AT_ONCE = 60; // maximum number of drawn runs

const at = (id) => document.getElementById(id);
const state = { session: "", number: 0, curvesNumber: 0, runs: new Map(), sweeps: [], curves: new Map(), axes: {}, query: "" };
const colours = new Colours();
const details = new Details(act);
const table = new Table(at("runs"), at("more"), colours, { choose, open: (key) => details.open(key, state.runs.get(key)) });
let timer = null;
let asking = false;

async function update() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  let next = BETWEEN;
  try {
    next = take(await ask(question()));
    live("live", "on");
    details.refresh(state.runs.get(details.key));
  } catch (error) {
    live(`not connected: ${error.message}`, "lost");
    next = 3 * BETWEEN;
  }
  asking = false;
  timer = setTimeout(update, document.hidden ? 10 * BETWEEN : next);
}

function question() {
  const drawn = drawnKeys();
  const query = JSON.stringify([at("metric").value, at("axis").value, drawn]);
  if (query !== state.query) {
    state.query = query;
    state.curvesNumber = 0;
  }
  const words = new URLSearchParams({ session: state.session, since: state.number, curves_since: state.curvesNumber });
  if (at("metric").value) words.set("metric", at("metric").value);
  if (at("axis").value) words.set("axis", at("axis").value);
  for (const key of drawn) words.append("run", key);
  return `api/update?${words}`;
}

// Process an answer and return the milliseconds until the next request.
function take(answer) {
  if (answer.session !== state.session) {
    state.runs.clear();
    state.curves.clear();
    state.session = answer.session;
  }
  const before = drawnKeys().join();
  state.number = answer.number;
  for (const [key, row] of Object.entries(answer.runs)) state.runs.set(key, row);
  for (const key of answer.removed) {
    state.runs.delete(key);
    state.curves.delete(key);
    table.mark(key, false);
  }
  if (answer.sweeps) state.sweeps = answer.sweeps;
  state.axes = answer.axes;
  state.measures = answer.measures;
  table.measure(answer.measures.shown);
  at("outputs").textContent = answer.outputs;
  colours.learn(new Set([...state.runs.values()].map((row) => row.arm)));
  if (state.curvesNumber === 0) state.curves.clear();
  state.curvesNumber = answer.drawn.number;
  for (const [key, curve] of Object.entries(answer.drawn.curves)) state.curves.set(key, curve);
  state.heading = answer.drawn.heading;
  state.falls = answer.drawn.falls;
  state.logged = new Set([...(state.logged ?? []), ...answer.drawn.metrics]);
  const names = [...new Set([answer.measures.primary, ...state.logged])].sort();
  options(at("metric"), names.map((name) => [name, name]), state.metric ?? answer.measures.primary);
  options(at("axis"), Object.entries(state.axes), at("axis").value || "tokens");
  const changed = Object.keys(answer.runs).length || answer.removed.length;
  if (changed) showRuns();
  if (answer.sweeps) showSweeps();
  if (changed || Object.keys(answer.drawn.curves).length) drawCurves();
  at("counts").dataset.complete = answer.complete;
  return answer.drawn.pending || !answer.complete || drawnKeys().join() !== before ? 100 : BETWEEN;
}

function fitting() {
  const text = at("filter").value.toLowerCase();
  const status = at("status").value;
  return [...state.runs].filter(
    ([key, row]) =>
      (!status || row.status === status) &&
      (!text || [key, row.name, row.id, row.arm, row.sweep ?? "", ...row.tags].some((word) => word.toLowerCase().includes(text))),
  );
}

// The selected runs, or else the newest that match the filter, running ones first.
function drawnKeys() {
  if (table.selected.size) return [...table.selected].sort().slice(0, AT_ONCE);
  const rank = ([, row]) => (row.status === "running" ? "1" : "0") + row.created;
  const readable = fitting().filter(([, row]) => row.status !== "unreadable");
  return readable.sort((a, b) => (rank(a) < rank(b) ? 1 : rank(a) > rank(b) ? -1 : a[0] < b[0] ? -1 : 1)).slice(0, DRAWN).map(([key]) => key);
}

function showRuns() {
  const entries = fitting();
  const counts = new Map();
  for (const row of state.runs.values()) counts.set(row.status, (counts.get(row.status) ?? 0) + 1);
  options(at("status"), [["", "any"], ...[...counts.keys()].sort().map((status) => [status, status])], at("status").value);
  const parts = [...counts].sort().map(([status, count]) => `${count} ${status}`);
  const fit = entries.length === state.runs.size ? "" : `; ${entries.length} match`;
  const empty = "No runs yet. A first one: lmlab train model=lstm budget.tokens=200_000";
  at("counts").textContent = state.runs.size ? `${state.runs.size} runs: ${parts.join(", ")}${fit}` : empty;
  table.show(entries);
  at("compare").disabled = table.selected.size === 0;
  at("compare").textContent = table.selected.size ? `Compare ${table.selected.size}` : "Compare";
}

function showSweeps() {
  at("sweeps").hidden = state.sweeps.length === 0;
  const newest = [...state.sweeps].sort((a, b) => (a.created < b.created ? 1 : -1));
  at("sweep-list").replaceChildren(...newest.map(sweepItem));
}

function sweepItem(sweep) {
  const order = ["finished", "running", "waiting", "failed", "interrupted", "pruned", "not started"];
  const counts = order.filter((status) => sweep.counts[status]).map((status) => element("span", { class: status }, `${sweep.counts[status]} ${status} `));
  if (sweep.to_come) counts.push(element("span", {}, `${sweep.to_come} to come `));
  const total = Object.values(sweep.counts).reduce((a, b) => a + b, sweep.to_come);
  const ended = ["finished", "failed", "pruned"].reduce((sum, status) => sum + (sweep.counts[status] ?? 0), 0);
  const running = sweep.status === "running";
  const button = running
    ? element("button", { type: "button", onclick: () => act("stop_sweep", { sweep: sweep.name }, `Stop the sweep ${sweep.name}? Its runs write their state first.`) }, "Stop")
    : element("button", { type: "button", disabled: sweep.status === "unreadable" || (sweep.status === "finished" && !sweep.counts.failed && !sweep.counts.interrupted), onclick: () => act("retry_sweep", { sweep: sweep.name }) }, "Resume");
  const only = element("button", { type: "button", onclick: () => ((at("filter").value = sweep.name), filtered()) }, "Show runs");
  return element(
    "li",
    { title: sweep.command },
    element("span", { class: "what" }, sweep.name, " ", element("span", { class: sweep.status }, sweep.status)),
    element("progress", { max: total || 1, value: ended, "aria-label": "jobs that have ended" }),
    element("span", {}, ...counts),
    only,
    button,
    ...sweep.errors.slice(0, 3).map((error) => element("span", { class: "error" }, error)),
  );
}

function drawCurves() {
  if (!window.Plotly) return;
  const keys = drawnKeys();
  const lines = keys.map((key) => ({ row: state.runs.get(key), curve: state.curves.get(key) })).filter(({ row, curve }) => row && curve && curve.x.length);
  lines.sort((a, b) => (a.row.arm < b.row.arm ? -1 : a.row.arm > b.row.arm ? 1 : a.row.seed - b.row.seed));
  const metric = at("metric").value;
  const settings = { metric, heading: state.heading, falls: state.falls, axis: at("axis").value, axisName: state.axes[at("axis").value], lines: at("lines").value, log: at("log").checked };
  draw(at("chart"), lines, colours, settings);
  const others = table.selected.size || fitting().length;
  const how = table.selected.size ? "selected runs" : "runs, the newest (select others in the table)";
  at("drawn").textContent = `${metric} of ${lines.length} of ${others} ${how}`;
  at("chart").setAttribute("aria-label", `${metric} against ${settings.axisName}, ${lines.length} runs`);
}

function choose(key, selected) {
  table.mark(key, selected);
  selectionChanged();
}

function selectionChanged() {
  showRuns();
  drawCurves();
  update();
}

function filtered() {
  showRuns();
  drawCurves();
  update();
}

async function act(action, content, sure) {
  if (sure && !window.confirm(sure)) return;
  try {
    say((await send(action, content)).said);
  } catch (error) {
    say(error.message);
  }
  update();
}

async function compare() {
  at("compare").disabled = true;
  say("Writing the report");
  try {
    const metric = state.measures.compared.includes(at("metric").value) ? at("metric").value : null;
    const { report } = await send("compare", { runs: [...table.selected], metric });
    say("Report written: ", element("a", { href: `reports/${report}`, target: "_blank" }, "open it"));
    window.open(`reports/${report}`, "_blank");
  } catch (error) {
    say(error.message);
  }
  at("compare").disabled = table.selected.size === 0;
}

let silence = null;
function say(...parts) {
  at("said").replaceChildren(...parts);
  const inFront = details.dialog.open ? details.dialog : document.body; // a modal dialog covers everything else
  inFront.append(at("said"));
  at("said").hidden = false;
  clearTimeout(silence);
  silence = setTimeout(() => (at("said").hidden = true), 12000);
}

function live(text, kind) {
  if (at("live").textContent !== text) at("live").textContent = text;
  at("live").className = kind;
}

at("metric").addEventListener("change", () => {
  state.metric = at("metric").value;
  update();
});
at("axis").addEventListener("change", update);
for (const id of ["lines", "log"]) at(id).addEventListener("change", drawCurves);
at("filter").addEventListener("input", filtered);
at("status").addEventListener("change", filtered);
at("compare").addEventListener("click", compare);
at("choose").addEventListener("click", () => {
  for (const [key, row] of fitting().slice(0, 1000)) if (row.status !== "unreadable") table.mark(key, true);
  selectionChanged();
});
at("clear").addEventListener("click", () => {
  for (const key of [...table.selected]) table.mark(key, false);
  selectionChanged();
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea") || details.dialog.open;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    at("filter").focus();
  }
});
document.addEventListener("visibilitychange", () => document.hidden || update());
onThemeChange(() => {
  for (const [key] of [...table.built]) table.built.get(key).row = null; // swatches too
  showRuns();
  drawCurves();
});
update();

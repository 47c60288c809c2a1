// Chart of curves: one line per run, the mean and range of each arm's runs, or both.

const GRID = 200; // points of an arm's mean
const NAMED = 16; // maximum number of runs named in the legend; beyond it, only arms are named
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];

export function draw(place, lines, colours, settings) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim();
  const rule = style.getPropertyValue("--rule").trim();
  const bands = settings.lines === "runs" ? [] : ofArms(lines, colours, settings);
  const traces = settings.lines === "arms" ? bands : [...bands.filter((trace) => trace.line.width === 0), ...ofRuns(lines, colours, settings)];
  const wide = place.clientWidth >= 600;
  const top = settings.log ? null : robustTop(lines.map(({ curve }) => curve.y), settings.falls);
  const least = Math.min(...lines.map(({ curve }) => curve.y.reduce((a, b) => (Number.isFinite(b) ? Math.min(a, b) : a), Infinity)));
  const range = top === null ? {} : { range: [least - 0.05 * (top - least), top], autorange: false };
  const axis = { gridcolor: rule, linecolor: rule, zeroline: false, automargin: true };
  window.Plotly.react(
    place,
    traces,
    {
      margin: { l: 55, r: 12, t: wide ? 34 : 12, b: 50 },
      paper_bgcolor: "transparent",
      plot_bgcolor: "transparent",
      font: { color: ink, family: "system-ui, sans-serif", size: 12 },
      xaxis: { ...axis, title: { text: settings.axisName, standoff: 10 }, type: settings.log ? "log" : "linear" },
      yaxis: { ...axis, ...range, title: { text: top === null ? settings.heading : `${settings.heading} (up to ${top.toPrecision(3)}; higher values are cut off)` }, type: settings.log ? "log" : "linear" },
      showlegend: traces.length > 1,
      legend: wide ? { tracegroupgap: 0 } : { orientation: "h", y: -0.4 },
      modebar: { bgcolor: "transparent", color: ink, activecolor: ink },
      hovermode: "closest",
      uirevision: `${settings.metric} ${settings.axis} ${settings.log}`, // keeps the user's zoom
    },
    { responsive: true, displaylogo: false, displayModeBar: wide },
  );
}

// Upper end of an axis that ignores diverged runs, as in reports (robust_top of loss_curves.py); null: no limit.
export function robustTop(curves, falls) {
  const lines = curves.map((curve) => curve.filter(Number.isFinite)).filter((line) => line.length);
  if (!lines.length) return null;
  const middle = (values) => values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)];
  const reference = Math.max(middle(lines.map((line) => line[0])), middle(lines.map(middle)), falls ? -Infinity : middle(lines.map((line) => line.at(-1))));
  const least = Math.min(...lines.map((line) => line.reduce((a, b) => Math.min(a, b))));
  const highest = Math.max(...lines.map((line) => line.reduce((a, b) => Math.max(a, b))));
  const usual = reference - least;
  if (usual <= 0 || highest <= reference + 3 * usual) return null;
  return lines.reduce((top, line) => line.reduce((a, b) => (b <= reference + usual ? Math.max(a, b) : a), top), reference) + 0.15 * usual;
}

// Escape text for Plotly, which interprets some tags; names of runs may come from other users.
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("%", "&#37;");
}

// Runs of an arm share its colour, with different dashes unless the arm itself has a dash.
function ofRuns(lines, colours, settings) {
  const runs = new Map();
  const each = lines.length <= NAMED;
  return lines.map(({ row, curve }) => {
    const number = runs.get(row.arm) ?? 0;
    runs.set(row.arm, number + 1);
    const name = `${row.arm}, seed ${row.seed}`;
    const dash = colours.dash(row.arm);
    const at = settings.axis === "step" ? "" : `<br>${plain(settings.axisName)}: %{x:.4s}`;
    return {
      x: curve.x,
      y: curve.y,
      customdata: curve.step,
      mode: curve.x.length === 1 ? "markers" : "lines",
      name: plain(each ? `${name} (${row.id.slice(0, 6)})` : row.arm),
      legendgroup: plain(each ? row.id : row.arm),
      showlegend: each || number === 0,
      hovertemplate: `<b>${plain(`${row.name} ${row.id.slice(0, 6)}, seed ${row.seed}`)}</b><br>step %{customdata:,d}<br>${plain(settings.metric)}: %{y:.5g}${at}<extra></extra>`,
      line: { color: colours.of(row.arm), dash: dash === "solid" ? DASHES[number % DASHES.length] : dash, width: 1.5 },
      marker: { color: colours.of(row.arm) },
    };
  });
}

function ofArms(lines, colours, settings) {
  const arms = new Map();
  for (const line of lines) {
    if (!arms.has(line.row.arm)) arms.set(line.row.arm, []);
    arms.get(line.row.arm).push(line.curve);
  }
  const traces = [];
  for (const [arm, curves] of arms) {
    const { x, low, mean, high } = summary(curves.filter((curve) => curve.x.length > 0));
    const line = { color: colours.of(arm), dash: colours.dash(arm), width: 2 };
    const shared = { x, legendgroup: plain(arm), hoverinfo: "skip", showlegend: false, mode: "lines" };
    if (curves.length > 1) {
      traces.push({ ...shared, y: low, line: { width: 0 } });
      traces.push({ ...shared, y: high, line: { width: 0 }, fill: "tonexty", fillcolor: colours.faint(arm) });
    }
    const name = plain(curves.length > 1 ? `${arm} (n = ${curves.length})` : arm);
    traces.push({ ...shared, y: mean, line, name, showlegend: true, hovertemplate: `<b>mean of ${name}</b><br>${plain(settings.metric)}: %{y:.5g}<br>${plain(settings.axisName)}: %{x:.4s}<extra></extra>`, mode: x.length === 1 ? "markers" : "lines" });
  }
  return traces;
}

// Mean and range over the part of the axis that all runs cover, at equidistant points.
export function summary(curves) {
  if (curves.length === 0) return { x: [], low: [], mean: [], high: [] };
  const from = Math.max(...curves.map((curve) => curve.x[0]));
  const to = Math.min(...curves.map((curve) => curve.x.at(-1)));
  const band = { x: [], low: [], mean: [], high: [] };
  if (to < from) return band;
  const count = to === from ? 1 : GRID;
  const places = curves.map(() => 0);
  for (let i = 0; i < count; i++) {
    const x = count === 1 ? from : from + ((to - from) * i) / (count - 1);
    const values = curves.map((curve, c) => {
      while (places[c] < curve.x.length - 2 && curve.x[places[c] + 1] < x) places[c]++;
      return between(curve, places[c], x);
    });
    band.x.push(x);
    band.low.push(Math.min(...values));
    band.high.push(Math.max(...values));
    band.mean.push(values.reduce((a, b) => a + b, 0) / values.length);
  }
  return band;
}

function between({ x, y }, i, at) {
  if (x.length === 1 || x[i + 1] === x[i]) return y[i];
  const part = Math.min(1, Math.max(0, (at - x[i]) / (x[i + 1] - x[i])));
  return y[i] + part * (y[i + 1] - y[i]);
}

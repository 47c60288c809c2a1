"use strict";
// Draws a chart (the JSON of charts.py) with plotly.js. The global `Plotly` must be loaded.
//
//   drawChart(element, chart, {axis, logX, logY, hidden, dark})
//
// axis: the name of an x axis, by default the first; logX, logY: logarithmic axes, by default as the chart declares;
// hidden: a Set of arms that are not drawn; dark: true on a dark background. Text colour, background and font are those of
// the element; the grid has the colour of its border.

const drawChart = (() => {
  const POINTS_WITH_MARKERS = 20, LINE_HEIGHT = 16, NARROW = 560;

  // plotly.js interprets some HTML in texts, so it is escaped.
  const plain = text => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const short = text => text.length > 28 ? text.slice(0, 27) + "…" : text;
  const wrapped = text => text.slice(0, 300).match(/[^\n]{1,60}/g)?.map(plain).join("<br>") ?? "";

  const formatNumber = value => {
    if (typeof value !== "number") return String(value ?? "–");
    const size = Math.abs(value);
    if (size && (size < 1e-3 || size >= 1e9)) return value.toExponential(3);
    return value.toLocaleString("en", {maximumSignificantDigits: size >= 1e4 ? 9 : 5, maximumFractionDigits: size >= 1e4 ? 0 : 6});
  };

  const view = (chart, options) => {
    const axis = options.axis in chart.x ? options.axis : Object.keys(chart.x)[0];
    const shown = chart.series.filter(series => series.x[axis] && !options.hidden?.has(series.arm));
    return {axis, shown, dark: options.dark ? 1 : 0, texts: shown.some(series => series.x[axis].some(x => typeof x === "string")),
      logX: options.logX ?? chart.x[axis].log, logY: options.logY ?? chart.y.log};
  };

  // Points that the axes can show; points between them that cannot be shown become gaps of the line.
  const points = (series, {axis, logX, logY}) => series.y.map((y, i) => {
    const x = series.x[axis][i];
    const can = x !== null && y !== null && !(logX && x <= 0) && !(logY && y <= 0);
    const bound = value => value === null || value === undefined || (logY && value <= 0) ? null : value;
    return {x, y: can ? y : null, low: bound(series.low?.[i]), high: bound(series.high?.[i]), i};
  }).filter(point => point.x !== null && !(logX && point.x <= 0));

  const hover = (chart, series, axis, {i}) => {
    const lines = [`<b>${plain(series.name)}</b>`, `${plain(chart.y.label)}: ${formatNumber(series.y[i])}`];
    if (series.low) lines[1] += ` [${formatNumber(series.low[i])}, ${formatNumber(series.high[i])}]`;
    lines.push(`${plain(chart.x[axis].label)}: ${plain(formatNumber(series.x[axis][i]))}`);
    if (series.details) lines.push(wrapped(series.details[i]));
    return lines.join("<br>");
  };

  const band = (series, seen, colour) => {
    const x = [], y = [];
    let run = [];
    for (const point of [...seen, {low: null, high: null, y: null}]) {
      if (point.y !== null && point.low !== null && point.high !== null) { run.push(point); continue; }
      if (run.length > 1) {
        const back = [...run].reverse();
        x.push(...run.map(p => p.x), ...back.map(p => p.x), null);
        y.push(...run.map(p => p.high), ...back.map(p => p.low), null);
      }
      run = [];
    }
    return {type: "scatter", mode: "lines", x, y, fill: "toself", fillcolor: colour + "2e", line: {width: 0}, hoverinfo: "skip", showlegend: false};
  };

  const traces = (chart, state) => state.shown.flatMap(series => {
    const seen = points(series, state), colour = series.style.line[state.dark], line = isLine(series);
    const trace = {x: seen.map(p => p.x), y: seen.map(p => p.y), hoverinfo: "text", showlegend: false, name: plain(series.name),
      hovertext: seen.map(p => hover(chart, series, state.axis, p)), hoverlabel: {bordercolor: colour}};
    if (series.low && series.high && !line) {
      trace.error_y = {type: "data", symmetric: false, thickness: 1.4, width: 4, color: series.kind === "bars" ? state.ink : series.style.text[state.dark],
        array: seen.map(p => p.high === null || p.y === null ? 0 : p.high - p.y), arrayminus: seen.map(p => p.low === null || p.y === null ? 0 : p.y - p.low)};
    }
    if (series.kind === "bars") return [{...trace, type: "bar", marker: {color: colour}}];
    const few = line && seen.length <= POINTS_WITH_MARKERS && series.kind !== "dashes";
    const drawn = {...trace, type: "scatter", mode: !line ? "markers" : few ? "lines+markers" : "lines",
      line: {color: colour, width: 2, dash: series.kind === "dashes" ? "5px,4px" : series.style.dash},
      marker: {color: colour, size: line ? 6 : 9, symbol: series.style.marker}};
    return line && series.low && series.high && !state.texts ? [band(series, seen, colour), drawn] : [drawn];
  });

  const extent = (values, log, padding) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) if (typeof value === "number" && !(log && value <= 0)) { low = Math.min(low, value); high = Math.max(high, value); }
    if (low > high) return null;
    if (log) [low, high] = [Math.log10(low), Math.log10(high)];
    const pad = (high - low || Math.abs(high) || 1) * padding;
    return [low - pad, high + pad];
  };

  // Names at the ends of lines at the right edge, moved apart where they would overlap. None if a line ends before the edge or the
  // chart has points: a name would cover other lines. The controls above the chart then serve as the legend.
  const isLine = series => series.kind === "line" || series.kind === "dashes";
  const labels = (state, range, height) => {
    const [left, right] = range.x, named = new Map(), lined = new Set(state.shown.filter(isLine).map(series => series.arm));
    if (state.shown.some(series => series.kind === "points" && !lined.has(series.arm))) return [];
    for (const series of state.shown) {
      if (series.kind === "bars" || named.has(series.name) || (series.kind === "points" && lined.has(series.arm))) continue;
      const seen = points(series, state).map(p => p.y === null ? null : {x: at(p.x, state.logX), y: at(p.y, state.logY)});
      const last = seen.filter(p => p && p.x <= right + 1e-9).reduce((a, p) => !a || p.x >= a.x ? p : a, null);
      if (last) last.y = Math.min(last.y, range.y[1]);  // a name beyond the axis would not be drawn
      if (last) named.set(series.name, {series, ...last, pixel: (last.y - range.y[0]) / (range.y[1] - range.y[0]) * height});
    }
    const ends = [...named.values()].sort((a, b) => a.pixel - b.pixel), atEdge = end => (end.x - left) / (right - left) > 0.95;
    if (ends.length * LINE_HEIGHT > height || !ends.every(atEdge)) return [];
    let floor = LINE_HEIGHT / 2, ceiling = height;
    for (const end of ends) { end.shifted = Math.max(end.pixel, floor); floor = end.shifted + LINE_HEIGHT; }
    for (const end of ends.toReversed()) { end.shifted = Math.min(end.shifted, ceiling); ceiling = end.shifted - LINE_HEIGHT; }
    return ends.map(({series, x, y, pixel, shifted}) => ({x, y, xref: "x", yref: "y", xanchor: "left", yanchor: "middle", xshift: 7, yshift: shifted - pixel,
      showarrow: false, text: plain(short(series.name)), font: {color: series.style.text[state.dark], size: 13}}));
  };
  const at = (value, log) => log ? Math.log10(value) : value;

  // Places and texts of the ticks of a logarithmic axis between two powers of ten.
  const ticks = ([low, high]) => {
    const decades = high - low, factors = decades > 3 ? [1] : decades > 1.5 ? [1, 2, 5] : decades > 0.7 ? [1, 2, 3, 5, 7] : [];
    const every = Math.ceil(decades / 10), values = [];
    for (let power = Math.floor(low); power <= high; power++)
      for (const factor of power % every ? [] : factors) values.push(factor * 10 ** power);
    if (!factors.length) {
      const [first, last] = [10 ** low, 10 ** high], size = 10 ** Math.floor(Math.log10(last - first)), shares = (last - first) / size;
      const step = size * (shares > 5 ? 2 : shares > 2 ? 1 : 0.5);
      for (let value = Math.ceil(first / step) * step; value <= last; value += step) values.push(value);
    }
    const shown = values.filter(value => value >= 10 ** low && value <= 10 ** high);
    return {tickmode: "array", tickvals: shown, ticktext: shown.map(tick)};
  };
  const tick = value => {
    const [size, letter] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([size]) => value >= Math.max(size, 1e4)) ?? [1, ""];
    return value < 1e-3 || value >= 1e15 ? value.toExponential(2).replace(/\.?0+e/, "e") : `${Number((value / size).toPrecision(4))}${letter}`;
  };

  const textWidth = (texts, font) => {
    const context = document.createElement("canvas").getContext("2d");
    context.font = font;
    return Math.max(0, ...texts.map(text => context.measureText(text).width));
  };

  const relabel = new WeakMap();  // by element: the function that places the names again after zooming

  return (element, chart, options = {}) => {
    const look = getComputedStyle(element), ink = look.color, state = {...view(chart, options), ink}, grid = look.borderTopColor;
    const width = options.width ?? element.clientWidth, height = width < NARROW ? 300 : 400;
    const family = look.fontFamily, lines = state.shown.filter(series => series.kind !== "bars");
    const bars = state.shown.some(series => series.kind === "bars");
    const ys = state.shown.flatMap(series => [...series.y, ...(series.low ?? []), ...(series.high ?? [])]);
    const range = {x: state.texts ? null : extent(state.shown.flatMap(series => series.x[state.axis]), state.logX, 0.015),
      y: extent(bars && !state.logY ? [0, ...ys] : ys, state.logY, 0.05)};
    const cut = chart.y.top !== null && chart.y.top !== undefined && !state.logY && range.y;
    if (cut) range.y = extent([...ys.filter(y => y !== null && y <= chart.y.top), chart.y.top], false, 0.05), range.y[1] = chart.y.top;
    const direct = width >= NARROW && range.x && range.y && labels(state, range, height).length > 0;
    const right = direct ? Math.min(220, 14 + textWidth(lines.map(series => short(series.name)), `13px ${family}`)) : 12;
    const margin = {l: 58, r: right, t: 30, b: 50};
    const title = {text: plain(chart.y.label), xref: "paper", yref: "paper", x: 0, y: 1, xanchor: "left", yanchor: "bottom", xshift: -57, yshift: 8, showarrow: false};
    const annotations = ranges => [title, ...(direct ? labels(state, ranges, height - margin.t - margin.b) : [])];
    if (bars && !state.logY && range.y && !ys.some(y => y < 0)) range.y[0] = 0;
    const big = range.x && range.x[1] >= 1e4;
    const axis = {gridcolor: grid, linecolor: grid, zerolinecolor: grid, ticks: "outside", ticklen: 4, tickcolor: grid, automargin: true, exponentformat: "power"};
    const layout = {
      width, height, margin, barmode: "group", bargap: 0.3, hovermode: "closest", showlegend: false, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {family, size: 13, color: ink},
      hoverlabel: {bgcolor: look.backgroundColor, font: {family, size: 13, color: ink}, align: "left"},
      xaxis: {...axis, showgrid: false, type: state.texts ? "category" : state.logX ? "log" : "linear", range: range.x ?? undefined, showline: true,
        ...(state.logX && range.x ? ticks(range.x) : {tickformat: big ? "~s" : ""}), title: {text: plain(chart.x[state.axis].label.slice(0, 80)), standoff: 8, font: {size: 13}}},
      yaxis: {...axis, type: state.logY ? "log" : "linear", range: range.y ?? undefined, ...(state.logY && range.y ? ticks(range.y) : {})},
      annotations: annotations(range),
    };
    const drawn = Plotly.react(element, traces(chart, state), layout, {displayModeBar: false});
    if (!relabel.has(element)) element.on("plotly_relayout", change => relabel.get(element)(change));
    relabel.set(element, change => {
      if (!Object.keys(change).some(key => /^[xy]axis\.(range|autorange)/.test(key))) return;
      const {xaxis, yaxis} = element.layout, marks = {};
      for (const axis of [state.logX && "xaxis", state.logY && "yaxis"].filter(Boolean)) {
        const {tickvals, ticktext} = ticks(element.layout[axis].range);
        Object.assign(marks, {[`${axis}.tickvals`]: tickvals, [`${axis}.ticktext`]: ticktext});
      }
      Plotly.relayout(element, {...marks, annotations: annotations({x: state.texts ? null : xaxis.range, y: yaxis.range})});
    });
    return drawn;
  };
})();

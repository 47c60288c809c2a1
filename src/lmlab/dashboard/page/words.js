// Formatting of counts and times, and DOM elements whose content is always text, never markup.

export function element(kind, attributes = {}, ...children) {
  const node = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

export function compact(value) {
  return value == null ? "" : new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(value);
}

export function duration(seconds) {
  if (seconds == null) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} d`;
}

// Set a select's options; unchanged options are left alone, so that an open select stays open.
export function options(select, values, selected) {
  const now = JSON.stringify(values);
  if (select.dataset.values !== now) {
    select.dataset.values = now;
    select.replaceChildren(...values.map(([value, text]) => element("option", { value }, text)));
  }
  if (values.some(([value]) => value === selected)) select.value = selected;
}

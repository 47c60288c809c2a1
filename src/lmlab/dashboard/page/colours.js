// Each arm has one colour everywhere (Okabe and Ito's palette, by arm name); dashes distinguish arms beyond it.

const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#3d9bd1", "#4d4d4d"];
const DARK = ["#56b4e9", "#ff8c42", "#2fc89b", "#e39ac4", "#f0e442", "#8fd0ff", "#bdbdbd"];
const DASHES = ["solid", "dash", "dot", "dashdot"];

const dark = window.matchMedia("(prefers-color-scheme: dark)");

export class Colours {
  constructor() {
    this.places = new Map();
  }

  // New arms take the next places; arms that are already displayed keep theirs.
  learn(arms) {
    for (const arm of [...arms].sort()) if (!this.places.has(arm)) this.places.set(arm, this.places.size);
  }

  of(arm) {
    const palette = dark.matches ? DARK : LIGHT;
    return palette[(this.places.get(arm) ?? 0) % palette.length];
  }

  dash(arm) {
    return DASHES[Math.floor((this.places.get(arm) ?? 0) / LIGHT.length) % DASHES.length];
  }

  faint(arm) {
    return `${this.of(arm)}33`;
  }
}

export function onThemeChange(call) {
  dark.addEventListener("change", call);
}

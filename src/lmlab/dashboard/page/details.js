// One run: what became of its attempts, its error, the end of its log, what it wrote.

import { ask } from "./server.js";
import { element } from "./words.js";

export class Details {
  constructor(act) {
    this.dialog = document.getElementById("details");
    this.parts = document.getElementById("details-parts");
    this.key = null;
    document.getElementById("close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => (this.key = null));
    this.stop = document.getElementById("stop");
    this.retry = document.getElementById("retry");
    this.stop.addEventListener("click", () => act("stop", { run: this.key }, `Stop ${this.row.name}? It writes its state first.`));
    this.retry.addEventListener("click", () => act("retry", { run: this.key }));
  }

  open(key, row) {
    this.key = key;
    this.parts.replaceChildren(element("p", { class: "note" }, "reading"));
    this.head(row);
    this.dialog.showModal();
    this.refresh(row);
  }

  head(row) {
    this.row = row;
    document.getElementById("details-name").textContent = `${row.name} ${row.id}`;
    const status = document.getElementById("details-status");
    const step = row.steps && (row.step != null || row.status === "finished") ? `, ${row.step ?? row.steps} of ${row.steps} steps` : "";
    status.replaceChildren(element("span", { class: row.status }, row.status), step, row.sweep ? `, of the sweep ${row.sweep}` : "");
    this.stop.disabled = row.status !== "running";
    this.retry.disabled = !["failed", "interrupted", "pruned"].includes(row.status);
  }

  async refresh(row) {
    const key = this.key;
    if (key === null) return;
    if (row) this.head(row);
    let found;
    try {
      found = await ask(`api/run?run=${encodeURIComponent(key)}`);
    } catch (error) {
      found = { error: error.message };
    }
    if (this.key !== key) return; // another one has been opened meanwhile
    const text = JSON.stringify([found, this.row.error]);
    if (text === this.text && this.parts.dataset.run === key) return;
    this.text = text;
    this.parts.dataset.run = key;
    const log = this.parts.querySelector("pre.log");
    const follows = !log || log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    const place = log?.scrollTop;
    this.parts.replaceChildren(...this.build(found));
    const now = this.parts.querySelector("pre.log");
    if (now) now.scrollTop = follows ? now.scrollHeight : place;
  }

  build(found) {
    const made = [];
    const part = (title, text, kind = "") => {
      if (text) made.push(element("h3", {}, title), element("pre", { class: kind, tabindex: "0" }, text));
    };
    const pruned = this.row.status === "pruned";
    part(pruned ? "Why it was pruned" : "Error", [this.row.error, found.error].filter(Boolean).join("\n"), pruned ? "" : "bad");
    part("Where it failed", this.row.status === "failed" ? found.traceback : "", "bad");
    part("The end of its log", found.log, "log");
    part("What went wrong on the way", (found.events ?? []).join("\n"));
    part("Its newest sample", found.sample);
    const attempts = (found.attempts ?? []).map((a) => `${a.started} to ${a.ended ?? "now"} on ${a.host}: ${a.status ?? "running"}${a.error ? `, ${a.error}` : ""}`);
    part("Began from", found.chain?.length > 1 ? found.chain.join(" > ") : "");
    part("Attempts", attempts.join("\n"));
    part("Command", found.command);
    part("Directory", found.path);
    return made;
  }
}

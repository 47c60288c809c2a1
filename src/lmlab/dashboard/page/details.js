// Details of one run: its attempts, error, end of the log, events and newest sample.

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
    let answer;
    try {
      answer = await ask(`api/run?run=${encodeURIComponent(key)}`);
    } catch (error) {
      answer = { error: error.message };
    }
    if (this.key !== key) return; // another run has been opened in the meantime
    const text = JSON.stringify([answer, this.row.error]);
    if (text === this.text && this.parts.dataset.run === key) return;
    this.text = text;
    this.parts.dataset.run = key;
    const log = this.parts.querySelector("pre.log");
    const follows = !log || log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    const place = log?.scrollTop;
    this.parts.replaceChildren(...this.build(answer));
    const now = this.parts.querySelector("pre.log");
    if (now) now.scrollTop = follows ? now.scrollHeight : place;
  }

  build(answer) {
    const elements = [];
    const part = (title, text, kind = "") => {
      if (text) elements.push(element("h3", {}, title), element("pre", { class: kind, tabindex: "0" }, text));
    };
    const pruned = this.row.status === "pruned";
    part(pruned ? "Reason for pruning" : "Error", [this.row.error, answer.error].filter(Boolean).join("\n"), pruned ? "" : "bad");
    part("Traceback", this.row.status === "failed" ? answer.traceback : "", "bad");
    part("End of the log", answer.log, "log");
    part("Events", (answer.events ?? []).join("\n"));
    part("Newest sample", answer.sample);
    const attempts = (answer.attempts ?? []).map((a) => `${a.started} to ${a.ended ?? "now"} on ${a.host}: ${a.status ?? "running"}${a.error ? `, ${a.error}` : ""}`);
    part("Started from", answer.chain?.length > 1 ? answer.chain.join(" > ") : "");
    part("Attempts", attempts.join("\n"));
    part("Command", answer.command);
    part("Directory", answer.path);
    return elements;
  }
}

// The page on which files are dropped: robot, session and notes once, then each file with its progress and its card.

import { call, may } from "./api.js";
import { card } from "./card.js";
import { announce, badge, duration, field, h, notice, select, size } from "./dom.js";
import { Queue, Transfer, sendPhoto } from "./transfer.js";

const PHASES = {
  waiting: "waits for its turn", hashing: "hashing", sending: "uploading", checking: "checked by the server",
  paused: "paused", failed: "failed", done: "done",
};
const queue = new Queue(2);
const shown = h("ul", { class: "list", "aria-label": "Files" });
let wish = null; // the form outlives a look at another page
window.addEventListener("beforeunload", (event) => {
  if (queue.items.some((item) => item.busy)) event.preventDefault();
});

export async function uploadView(main) {
  main.append(h("h1", {}, "Send logs"), h("p", { class: "lead" },
    "Drop log files or whole folders. Each is hashed here, sent in parts, checked byte by byte by the server and validated. You may close this page: dropping the same file again goes on from the parts that arrived."));
  if (!may("operator")) {
    main.append(notice({ message: "Your role is viewer: you can look at what was sent, not send.", remedy: "An admin can change that." }, false));
    return;
  }
  const robots = await call("GET", "/robots");
  if (!robots.length) {
    main.append(notice({ message: "No robot is registered yet.", remedy: "A robot registers itself when its key is admitted; or on the server: sim2real robot add." }, false));
    return;
  }
  wish ||= form(robots);
  main.append(wish.box, dropZone(), h("h2", {}, "Files"), shown);
  if (!shown.children.length) shown.append(h("li", { class: "empty sheet" }, "Nothing sent from this page yet."));
  await unfinished(main);
}

function form(robots) {
  const robot = select(robots.map((one) => [one.serial, `${one.serial} (${one.spec_name})`]), sessionStorage.getItem("robot") || robots[0].serial);
  const session = h("input", { value: new Date().toISOString().slice(0, 10), maxlength: 80, pattern: "[A-Za-z0-9][A-Za-z0-9 _.:\\-]*" });
  const priority = select([["routine", "routine"], ["on_demand", "on demand"], ["intervention", "intervention"], ["incident", "incident"]], "routine");
  const mapping = select([["", "none: the files describe themselves"]], "");
  const notes = h("textarea", { maxlength: 20000, rows: 3 });
  const photos = h("input", { type: "file", accept: "image/jpeg,image/png,image/webp", multiple: true });
  const loadMappings = async () => {
    sessionStorage.setItem("robot", robot.value);
    const kept = await call("GET", `/robots/${robot.value}/mappings`).catch(() => []);
    mapping.replaceChildren(h("option", { value: "" }, "none: the files describe themselves"),
      ...kept.map((one) => h("option", { value: one.sha256 }, `${one.name || "mapping"} (${one.sha256.slice(0, 8)})`)));
  };
  robot.addEventListener("change", loadMappings);
  loadMappings();
  const box = h("form", { class: "sheet grid", "aria-label": "About these files", onsubmit: (event) => event.preventDefault() },
    field("Robot", robot), field("Session", session, "Groups the files of one outing."), field("Priority", priority),
    field("Notes", notes, "What you know about these runs: new tyres, a loose cable. Kept with the episodes.", "two"),
    h("div", {}, field("Photos", photos, "JPEG, PNG or WebP, up to 25 MB each."), h("div", { class: "more" }, field("Mapping", mapping))));
  const sent = new Map();
  return {
    box,
    /** The wish for one batch; notes and photos are sent once for the same words. */
    async read() {
      const values = { robot: robot.value, session: session.value.trim(), priority: priority.value, mapping_sha256: mapping.value, notes: notes.value.trim() };
      const files = [...photos.files];
      if (files.length && !values.notes) values.notes = "(photos)";
      const key = JSON.stringify([values.robot, values.session, values.notes, files.map((file) => [file.name, file.size])]);
      if (values.notes && !sent.has(key)) {
        const note = await call("POST", "/notes", { robot: values.robot, text: values.notes, session: values.session || null });
        for (const file of files) await sendPhoto(note.id, file);
        sent.set(key, note.id);
      }
      return values;
    },
  };
}

function dropZone() {
  const files = h("input", { type: "file", multiple: true, class: "hidden", id: "pick-files", tabindex: "-1", "aria-label": "Log files" });
  const folder = h("input", { type: "file", webkitdirectory: true, class: "hidden", id: "pick-folder", tabindex: "-1", "aria-label": "Folder of logs" });
  const problems = h("div", {});
  const take = async (found) => {
    problems.replaceChildren();
    try { await start(found); } catch (problem) { problems.replaceChildren(notice(problem)); }
  };
  for (const input of [files, folder]) {
    input.addEventListener("change", () => { take([...input.files]); input.value = ""; });
  }
  const zone = h("div", { class: "drop", role: "group", "aria-label": "Files to send" },
    h("p", {}, h("strong", {}, "Drop files or folders here")),
    h("div", { class: "row" }, h("button", { class: "main", onclick: () => files.click() }, "Choose files …"),
      h("button", { onclick: () => folder.click() }, "Choose a folder …")),
    files, folder, problems);
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(await dropped(event.dataTransfer));
  });
  return zone;
}

/** The files of a drop, folders walked through. */
async function dropped(data) {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...data.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) { found.push(await new Promise((resolve, reject) => entry.file(resolve, reject))); return; }
    const reader = entry.createReader();
    for (;;) {
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!batch.length) return;
      for (const child of batch) await walk(child);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

async function start(files) {
  const real = files.filter((file) => !file.name.startsWith("."));
  if (!real.length) return;
  const values = await wish.read();
  shown.querySelector(".empty")?.remove();
  for (const file of real.sort((a, b) => a.name.localeCompare(b.name))) {
    const transfer = new Transfer(file, file.name, values);
    shown.prepend(row(transfer));
    queue.add(transfer);
  }
  announce(`${real.length} file${real.length === 1 ? "" : "s"} added.`);
}

function row(transfer) {
  const { name, file } = transfer;
  const bar = h("progress", { max: 1, value: 0, "aria-label": `Progress of ${name}` });
  const state = h("span", {}, badge("waiting"));
  const facts = h("p", { class: "facts" });
  const buttons = h("div", { class: "row" });
  const below = h("div", {});
  const item = h("li", { class: "file sheet", "data-name": name },
    h("div", { class: "row apart" }, h("h3", {}, name), state), bar, h("div", { class: "row apart" }, facts, buttons), below);
  const button = (text, act) => h("button", { class: "small", "aria-label": `${text} ${name}`, onclick: act }, text);
  let before = "";
  transfer.addEventListener("change", () => {
    bar.value = transfer.phase === "done" ? 1 : transfer.share;
    facts.textContent = words(transfer);
    if (transfer.phase === before) return;
    before = transfer.phase;
    const result = transfer.phase === "done" ? transfer.receipt.state : transfer.phase;
    state.replaceChildren(badge(result, transfer.phase === "done" ? result : PHASES[transfer.phase]));
    bar.hidden = transfer.phase === "done";
    buttons.replaceChildren();
    if (["waiting", "hashing", "sending"].includes(transfer.phase)) buttons.append(button("Pause", () => transfer.pause()));
    if (transfer.phase === "paused") buttons.append(button("Resume", () => { transfer.resume(); queue.turn(); }));
    if (transfer.phase === "failed") {
      buttons.append(button("Retry", () => { below.replaceChildren(); transfer.resume(); queue.turn(); }));
      below.replaceChildren(notice(transfer.problem));
    }
    if (transfer.phase === "done") {
      const show = async () => {
        const found = await card(transfer.upload, show);
        state.replaceChildren(badge(found.dataset.state));
        below.replaceChildren(found);
      };
      show().catch((problem) => below.replaceChildren(notice(problem)));
      announce(`${name}: ${result}.`);
    }
  });
  facts.textContent = `${size(file.size)}, waits for its turn`;
  buttons.append(button("Pause", () => transfer.pause()));
  return item;
}

function words({ phase, file, done, share, speed, server, already, receipt }) {
  const total = size(file.size);
  if (phase === "hashing" || phase === "sending") {
    const eta = speed.eta(file.size - done);
    const resumed = phase === "sending" && already ? `, went on from ${size(already)}` : "";
    return `${PHASES[phase]}: ${size(done)} of ${total}${speed.rate ? `, ${size(speed.rate)}/s` : ""}${isFinite(eta) && eta > 0.5 ? `, ${duration(eta)} left` : ""}${resumed}`;
  }
  if (phase === "checking") {
    const what = { verifying: "the server hashes the whole file", validating: "the server validates what is in it", waiting: "waits for the server" }[server?.phase || "waiting"];
    const left = server && share > 0.05 ? server.elapsed_s / share - server.elapsed_s : Infinity;
    const rate = server?.elapsed_s > 0.3 ? `, ${size(share * file.size / server.elapsed_s)}/s` : "";
    return `${what}: ${Math.round(share * 100)} %${rate}${isFinite(left) && left > 0.5 ? `, about ${duration(left)} left` : ""}`;
  }
  if (phase === "done") return `${total}, SHA-256 ${receipt.sha256.slice(0, 16)}… verified by the server`;
  return `${total}, ${PHASES[phase]}`;
}

/** Uploads of which the server has a part: the same file, dropped again, goes on. */
async function unfinished(main) {
  const { rows } = await call("GET", "/uploads", undefined, { state: "receiving", limit: 20 });
  const here = new Set(queue.items.map((item) => item.upload));
  const left = rows.filter((line) => line.name && !here.has(String(line.id)));
  if (!left.length) return;
  const list = h("ul", { class: "list" });
  for (const line of left) {
    const state = await call("GET", `/uploads/${line.id}`).catch(() => null);
    if (!state) continue;
    list.append(h("li", { class: "sheet" }, h("div", { class: "row apart" }, h("h3", {}, line.name), badge("paused", "interrupted")),
      h("p", { class: "facts" }, `${line.robot}, ${size(line.size)}: ${state.received.length} of ${state.parts} parts arrived. Drop this file again to go on.`)));
  }
  main.append(h("h2", {}, "Begun and not finished"), list);
}

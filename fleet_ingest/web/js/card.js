// What became of one file, for people: facts, plots of its channels, the reason of a quarantine, its release.

import { call, may } from "./api.js";
import { announce, badge, duration, h, notice, size, svg, table, time } from "./dom.js";

const SHOWN = 6;
const WIDTH = 300;
const HEIGHT = 84;

/** The card of an upload, loaded from the server. `changed` is called when the file is released. */
export async function card(upload, changed = () => {}) {
  const fate = await call("GET", `/uploads/${upload}/fate`);
  const { line, card: found } = fate;
  const box = h("div", { "data-state": line.state });
  if (line.state === "quarantined" || line.state === "salvaged") box.append(reason(fate, changed));
  if (found) box.append(facts(fate), ...plots(found), ...details(found));
  else box.append(h("p", { class: "facts" }, line.words));
  if (fate.notes.length) box.append(notes(fate.notes));
  return box;
}

function reason(fate, changed) {
  const { line, detail, remedy, releasable, card: found } = fate;
  const kept = found?.salvage;
  const lost = kept && kept.lost_from_byte !== null ? ` Kept: ${kept.kept} messages or rows; lost from byte ${kept.lost_from_byte} on.` : "";
  const box = h("div", { class: line.state === "quarantined" ? "notice bad" : "notice" },
    h("p", {}, h("strong", {}, line.words + lost)),
    remedy ? h("p", {}, `What to do: ${remedy}`) : null,
    detail ? h("details", {}, h("summary", {}, "In the validator's words"), h("p", { class: "mono" }, detail)) : null);
  if (releasable && may("operator")) {
    box.append(h("p", {}, h("button", { class: "small", onclick: () => release(line, changed) }, "Release …")));
  }
  return box;
}

function release(line, changed) {
  const note = h("textarea", { id: "release-note", required: true, maxlength: 2000 });
  const place = h("div", {});
  const dialog = h("dialog", { "aria-labelledby": "release-title" },
    h("h2", { id: "release-title" }, `Release ${line.name || line.sha256.slice(0, 12)}?`),
    h("p", {}, "What can be read of the file is taken in although the validator put it aside. Your words stand in the audit trail."),
    h("label", { for: "release-note" }, "Why"), note, place,
    h("p", { class: "row" },
      h("button", { class: "main", onclick: async () => {
        if (!note.value.trim()) { note.focus(); return; }
        try {
          await call("POST", `/uploads/${line.id}/release`, { note: note.value.trim() });
          dialog.close();
          announce("Taken in again; its card says how it went.");
          changed();
        } catch (problem) { place.replaceChildren(notice(problem)); }
      } }, "Release"),
      h("button", { onclick: () => dialog.close() }, "Leave it")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function facts({ line, card: found, state }) {
  const messages = found.topics.reduce((sum, topic) => sum + topic.decoded, 0);
  const rows = [
    ["Duration", duration(found.duration_s)], ["Episodes", String(state.receipt ? state.receipt.episodes.length : found.episodes)],
    ["Messages or rows", messages.toLocaleString("en")], ["Topics", String(found.topics.length + found.topics_left_out)],
    ["Gaps", String(found.gaps)], ["Rate", found.rate_hz ? `${Number(found.rate_hz.toPrecision(4))} Hz` : "–"],
    ["Size", size(line.size)], ["Format", found.format], ["Checksums", found.integrity],
  ];
  if (found.lag) rows.push(["Lag", `${(found.lag.seconds * 1000).toFixed(0)} ms`]);
  return h("dl", { class: "card" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function plots(found) {
  if (!found.series.length) return [];
  const list = (series) => h("ul", { class: "plots" }, series.map((one) => h("li", {}, ...plot(one))));
  const parts = [list(found.series.slice(0, SHOWN))];
  const rest = found.series.slice(SHOWN);
  if (rest.length) {
    parts.push(h("details", {}, h("summary", {}, `${rest.length} more channels`), list(rest),
      found.series_left_out ? h("p", { class: "hint" }, `${found.series_left_out} further channels are not plotted.`) : null));
  }
  return parts;
}

function plot(series) {
  const good = series.values.filter((value) => value !== null);
  const low = Math.min(...good);
  const high = Math.max(...good);
  const first = series.t_s[0] ?? 0;
  const span = (series.t_s.at(-1) ?? 1) - first || 1;
  const x = (t) => ((t - first) / span) * WIDTH;
  const y = (value) => (high === low ? HEIGHT / 2 : HEIGHT - 5 - ((value - low) / (high - low)) * (HEIGHT - 10));
  let path = "";
  let pen = "M";
  series.values.forEach((value, i) => {
    if (value === null) { pen = "M"; return; }
    path += `${pen}${x(series.t_s[i]).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
  });
  const short = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "–");
  const range = good.length ? `${short(low)} … ${short(high)} ${series.unit}` : "nothing measured";
  const label = `${series.name}: ${range} over ${duration(span)}`;
  return [
    h("p", { class: "name", "aria-hidden": "true" }, h("b", {}, series.name), h("span", {}, range)),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      low < 0 && high > 0 ? svg("line", { class: "zero", x1: 0, x2: WIDTH, y1: y(0), y2: y(0) }) : "",
      svg("path", { class: `trace ${series.role}`, d: path })),
  ];
}

function details(found) {
  const parts = [];
  if (found.topics.length) {
    parts.push(h("details", {}, h("summary", {}, `Topics (${found.topics.length})`), table("Topics of the file", [
      ["Topic", (t) => h("span", { class: "mono" }, t.name || "table")], ["Type", (t) => t.type || t.encoding || "–"],
      ["Decoded", (t) => t.decoded.toLocaleString("en"), "number"], ["File says", (t) => (t.said === null ? "–" : t.said.toLocaleString("en")), "number"],
      ["Rate", (t) => (t.rate_hz ? `${Number(t.rate_hz.toPrecision(4))} Hz` : "–"), "number"], ["Gaps", (t) => String(t.gaps), "number"],
    ], found.topics)));
  }
  if (found.flags.length) {
    parts.push(h("details", {}, h("summary", {}, `Remarks (${found.flags.length})`), h("ul", {}, found.flags.map((flag) =>
      h("li", {}, `${flag.code.replaceAll("_", " ")}${flag.channel ? ` in ${flag.channel}` : ""}${flag.count > 1 ? ` (${flag.count}×)` : ""}${flag.detail ? `: ${flag.detail}` : ""}`)))));
  }
  return parts;
}

function notes(found) {
  return h("details", { open: true }, h("summary", {}, "Notes"), found.map((note) => h("div", { class: "note" },
    h("p", {}, note.text), h("p", { class: "facts" }, `${note.author.replace("operator:", "")}, ${time(note.created_ns)}`),
    h("div", { class: "photos" }, note.photos.map((photo) => picture(note, photo))))));
}

function picture(note, photo) {
  const image = h("img", { alt: `Photo: ${photo.name}` });
  call("GET", `/notes/${note.id}/photos/${photo.sha256}`).then(({ url }) => { image.src = url; }).catch(() => image.remove());
  return image;
}

/** Name, badge and facts of an upload line. */
export function heading(line) {
  return [
    h("div", { class: "row apart" }, h("h2", { class: "filename" }, line.name || `${line.sha256.slice(0, 12)}…`), badge(line.state)),
    h("p", { class: "facts" }, [line.robot, line.session, size(line.size), line.priority === "routine" ? null : line.priority.replace("_", " "), time(line.created_ns)].filter(Boolean).join(" · ")),
  ];
}

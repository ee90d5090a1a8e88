// Elements from calls, and how numbers, sizes and times are written. No state.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("p", {class: "x", onclick: f}, "text", child)`. Text is never taken as markup. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** Says something to people who do not see the page. */
export function announce(text) {
  document.getElementById("live").textContent = text;
}

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (bytes >= 1000 && power < units.length - 1) { bytes /= 1000; power += 1; }
  return `${power === 0 ? bytes : bytes.toFixed(bytes < 10 ? 2 : 1)} ${units[power]}`;
}

export function duration(seconds) {
  if (!isFinite(seconds)) return "";
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export function time(ns) {
  const date = new Date(ns / 1e6);
  const pad = (n) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${pad(date.getHours())}:${pad(date.getMinutes())}`;
}

export function badge(state, text = state) {
  return h("span", { class: `badge ${state}` }, text);
}

/** A labelled field. */
export function field(label, control, hint, wide) {
  const id = control.id || (control.id = `f${Math.random().toString(36).slice(2)}`);
  const parts = [h("label", { for: id }, label), control];
  if (hint) {
    const note = h("p", { class: "hint", id: `${id}-hint` }, hint);
    control.setAttribute("aria-describedby", note.id);
    parts.push(note);
  }
  return h("div", { class: wide || null }, parts);
}

export function select(options, value) {
  return h("select", { value }, options.map(([v, text]) => h("option", { value: v, selected: v === value }, text)));
}

/** A table that becomes a list of facts on narrow screens. `columns`: [heading, row => cell, "number"?]. */
export function table(caption, columns, rows) {
  return h("div", { class: "scroll" }, h("table", { class: "stack" },
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, columns.map(([name, , kind]) => h("th", { scope: "col", class: kind }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, columns.map(([name, cell, kind]) =>
      h("td", { class: kind, "data-name": name }, cell(row))))))));
}

export function notice(problem, bad = true) {
  return h("div", { class: bad ? "notice bad" : "notice", role: bad ? "alert" : null },
    h("p", {}, h("strong", {}, problem.message)), problem.remedy ? h("p", {}, problem.remedy) : null);
}

// What was sent, newest first, as the server keeps it; each line opens to its card.

import { call } from "./api.js";
import { card, heading } from "./card.js";
import { field, h, notice, select } from "./dom.js";

const STATES = ["accepted", "salvaged", "quarantined", "receiving", "verifying", "abandoned"];

export async function historyView(main, query) {
  const robots = await call("GET", "/robots");
  const robot = select([["", "all"], ...robots.map((one) => [one.serial, one.serial])], query.get("robot") || "");
  const state = select([["", "all"], ...STATES.map((one) => [one, one])], query.get("state") || "");
  const session = h("input", { value: query.get("session") || "" });
  const name = h("input", { type: "search", value: query.get("name") || "" });
  const list = h("ul", { class: "list", "aria-label": "Uploads" });
  const more = h("button", { class: "more", hidden: true }, "Show older ones");
  const asked = () => ({ robot: robot.value, state: state.value, session: session.value.trim(), name: name.value.trim() });
  const load = async (before) => {
    more.hidden = true;
    try {
      const page = await call("GET", "/uploads", undefined, { ...asked(), before, limit: 30 });
      if (!before) list.replaceChildren();
      list.append(...page.rows.map(line));
      if (!list.children.length) list.append(h("li", { class: "empty sheet" }, "Nothing like that was sent."));
      more.hidden = page.next === null;
      more.onclick = () => load(page.next);
    } catch (problem) { list.replaceChildren(h("li", {}, notice(problem))); }
  };
  let timer = 0;
  for (const control of [robot, state, session, name]) {
    control.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => load(), 250); });
  }
  main.append(h("h1", {}, "History"), h("p", { class: "lead" }, "Every file that was sent, and what became of it."),
    h("form", { class: "filters", role: "search", "aria-label": "Filter", onsubmit: (event) => event.preventDefault() },
      field("Robot", robot), field("State", state), field("Session", session), field("Name", name)), list, more);
  await load();
}

function line(found) {
  const below = h("div", {});
  const button = h("button", { class: "small", "aria-expanded": "false", "aria-label": `Details of ${found.name || found.sha256.slice(0, 12)}` }, "Details");
  const item = h("li", { class: "sheet" });
  const show = async () => {
    try { below.replaceChildren(await card(found.id, refresh)); } catch (problem) { below.replaceChildren(notice(problem)); }
  };
  const refresh = async () => {
    const fate = await call("GET", `/uploads/${found.id}/fate`);
    head.replaceChildren(...heading(fate.line));
    await show();
  };
  button.addEventListener("click", async () => {
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    if (open) await show(); else below.replaceChildren();
  });
  const head = h("div", {}, heading(found));
  item.append(head, found.state === "accepted" ? "" : h("p", { class: "facts" }, found.words), h("p", { class: "row" }, button), below);
  return item;
}

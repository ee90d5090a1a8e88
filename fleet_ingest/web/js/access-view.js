// Robots and their keys; for admins also accounts and the audit trail.

import { call, may } from "./api.js";
import { announce, badge, field, h, notice, select, table, time } from "./dom.js";

export async function robotsView(main) {
  const place = h("div", {});
  main.append(h("h1", {}, "Robots"), h("p", { class: "lead" },
    "A robot gets in with a key of its own. Compare the mark with the one in the robot's log before you admit it; revoking ends its sessions at once."), place);
  const load = async () => {
    const [keys, robots] = await Promise.all([call("GET", "/keys"), call("GET", "/robots")]);
    const act = (key, what) => h("button", { class: "small", "aria-label": `${what} key ${key.id} of ${key.robot}`, onclick: async () => {
      if (what === "Revoke" && !confirm(`Revoke key ${key.mark} of ${key.robot}? This cannot be undone.`)) return;
      try { await call("POST", `/keys/${key.id}/${what.toLowerCase()}`); announce(`${what}: done.`); await load(); } catch (problem) { place.prepend(notice(problem)); }
    } }, what);
    const actions = (key) => h("span", { class: "row" }, may("operator") && key.state === "waiting" ? act(key, "Admit") : null,
      may("operator") && key.state !== "revoked" ? act(key, "Revoke") : "–");
    place.replaceChildren(h("h2", {}, "Keys"), keys.length ? table("Keys of robots", [
      ["Robot", (key) => key.robot], ["Mark", (key) => h("code", {}, key.mark)], ["State", (key) => badge(key.state)],
      ["From", (key) => key.note || "–"], ["Asked", (key) => time(key.asked_ns)], ["Decided by", (key) => (key.decided_by || "–").replace("operator:", "")],
      ["Actions", actions],
    ], keys) : h("p", { class: "empty sheet" }, "No robot has asked to be let in."),
    h("h2", {}, "Registered"), robots.length ? table("Registered robots", [
      ["Serial", (one) => one.serial], ["Specification", (one) => one.spec_name], ["Kind", (one) => one.kind],
    ], robots) : h("p", { class: "empty sheet" }, "None yet."));
  };
  await load();
}

export async function adminView(main) {
  const people = h("div", {});
  const trail = h("div", {});
  main.append(h("h1", {}, "Administration"), h("h2", {}, "Accounts"), people, h("h2", {}, "Audit trail"), trail);
  await accounts(people);
  await audit(trail);
}

async function accounts(place) {
  const rows = await call("GET", "/operators");
  const told = h("div", {});
  const change = (row, text, body) => h("button", { class: "small", "aria-label": `${text}: ${row.name}`, onclick: async () => {
    try {
      const { secret } = await call("PATCH", `/operators/${row.name}`, body);
      await accounts(place);
      if (secret) place.append(shownOnce(row.name, secret));
    } catch (problem) { told.replaceChildren(notice(problem)); }
  } }, text);
  const name = h("input", { pattern: "[a-z0-9][a-z0-9_.@\\-]*", required: true, maxlength: 64 });
  const role = select([["viewer", "viewer"], ["operator", "operator"], ["admin", "admin"]], "operator");
  const form = h("form", { class: "filters more", "aria-label": "New account", onsubmit: async (event) => {
    event.preventDefault();
    try {
      const { secret } = await call("POST", "/operators", { name: name.value, role: role.value });
      const made = name.value;
      await accounts(place);
      place.append(shownOnce(made, secret));
    } catch (problem) { told.replaceChildren(notice(problem)); }
  } }, field("New account", name), field("Role", role), h("button", { class: "main" }, "Add"));
  place.replaceChildren(table("Accounts", [
    ["Name", (row) => row.name], ["Role", (row) => row.role], ["State", (row) => badge(row.state)],
    ["Actions", (row) => h("span", { class: "row" }, change(row, "New secret", { new_secret: true }),
      change(row, row.state === "active" ? "Disable" : "Enable", { state: row.state === "active" ? "disabled" : "active" }))],
  ], rows), form, told);
}

function shownOnce(name, secret) {
  announce("A secret is shown once.");
  return h("div", { class: "notice" }, h("p", {}, `Secret of ${name}, shown this once: `, h("code", { class: "mono" }, secret)));
}

async function audit(place) {
  const page = await call("GET", "/audit", undefined, { limit: 100 });
  place.replaceChildren(table("Audit trail", [
    ["When", (row) => time(row.at_ns)], ["Who", (row) => row.actor], ["What", (row) => row.action], ["About", (row) => row.subject],
    ["Outcome", (row) => badge(row.outcome)], ["Detail", (row) => h("span", { class: "facts" }, row.detail || "–")],
  ], page.rows));
}

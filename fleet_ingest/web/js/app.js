// Which page is shown, and to whom. One address per page, in the part after '#'.

import { adminView, robotsView } from "./access-view.js";
import { may, session, signIn, signOut } from "./api.js";
import { field, h, notice } from "./dom.js";
import { episodesView } from "./episodes-view.js";
import { historyView } from "./history-view.js";
import { uploadView } from "./upload-view.js";

const PAGES = [
  ["send", "Send", uploadView, "viewer"], ["history", "History", historyView, "viewer"], ["episodes", "Episodes", episodesView, "viewer"],
  ["robots", "Robots", robotsView, "viewer"], ["admin", "Admin", adminView, "admin"],
];
const main = document.getElementById("main");
let turn = 0;

async function show() {
  const mine = turn += 1;
  const [name, query] = location.hash.slice(1).split("?");
  const page = PAGES.find(([one, , , role]) => one === name && may(role)) || PAGES[0];
  header(page[0]);
  if (!session()) { signInView(); return; }
  document.title = `${page[1]} – sim2real`;
  const next = h("div", {});
  try {
    await page[2](next, new URLSearchParams(query));
  } catch (problem) {
    next.append(notice(problem));
  }
  if (mine !== turn) return;
  main.replaceChildren(next);
  main.focus({ preventScroll: true });
}

function header(current) {
  const held = session();
  document.getElementById("nav").replaceChildren(...(held ? PAGES.filter(([, , , role]) => may(role)) : []).map(([name, title]) =>
    h("a", { href: `#${name}`, "aria-current": name === current ? "page" : null }, title)));
  document.getElementById("who").replaceChildren(...(held ? [
    h("span", {}, `${held.name} (${held.role})`),
    h("button", { class: "small", onclick: async () => { await signOut().catch(() => {}); show(); } }, "Sign out"),
  ] : []));
}

function signInView() {
  document.title = "Sign in – sim2real";
  const name = h("input", { autocomplete: "username", required: true, autocapitalize: "none", spellcheck: "false" });
  const secret = h("input", { type: "password", autocomplete: "current-password", required: true });
  const told = h("div", {});
  const button = h("button", { class: "main" }, "Sign in");
  main.replaceChildren(h("form", { class: "sheet narrow", onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    try { await signIn(name.value.trim(), secret.value.trim()); await show(); } catch (problem) { told.replaceChildren(notice(problem)); }
    button.disabled = false;
  } }, h("h1", {}, "Sign in"), h("p", { class: "lead" }, "The first account, 'local', is made when the stack first starts; its secret is shown there once."),
  field("Name", name), h("div", { class: "more" }, field("Secret", secret)), h("p", {}, button), told));
  name.focus();
}

window.addEventListener("hashchange", show);
window.addEventListener("signed-out", () => { if (!document.querySelector("form.narrow")) show(); });
show();

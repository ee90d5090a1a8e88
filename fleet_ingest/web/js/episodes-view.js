// Episodes by robot, time, policy, outcome, tags and coverage; totals from the server's counters.

import { call } from "./api.js";
import { duration, field, h, notice, select, table, time } from "./dom.js";

export async function episodesView(main) {
  const totals = await call("GET", "/episodes/totals");
  const unique = (key) => [...new Set(totals.rows.map((row) => row[key]))].sort();
  const any = (values) => [["", "all"], ...values.map((value) => [value, value])];
  const controls = {
    robot: select(any(unique("robot")), ""), outcome: select(any(unique("outcome")), ""),
    policy: h("input", {}), tag: h("input", { placeholder: "key:value" }), from: h("input", { type: "datetime-local" }),
    to: h("input", { type: "datetime-local" }), coverage: h("input", { type: "number", min: 0, max: 100, step: 1 }),
  };
  const place = h("div", {});
  const more = h("button", { class: "more", hidden: true }, "Show older ones");
  const ns = (control) => (control.value ? String(new Date(control.value).getTime()) + "000000" : null);
  let rows = [];
  const load = async (after) => {
    more.hidden = true;
    const { robot, outcome, policy, tag, from, to, coverage } = controls;
    try {
      const page = await call("GET", "/episodes", undefined, {
        robot: robot.value, outcome: outcome.value, policy: policy.value.trim(), tag: tag.value.includes(":") ? tag.value.trim() : null,
        from_ns: ns(from), to_ns: ns(to), coverage_min: coverage.value ? Number(coverage.value) / 100 : null, after, limit: 50,
      });
      rows = after ? [...rows, ...page.rows] : page.rows;
      place.replaceChildren(rows.length ? list(rows) : h("p", { class: "empty sheet" }, "No episode is like that."));
      more.hidden = page.next === null;
      more.onclick = () => load(page.next);
    } catch (problem) { place.replaceChildren(notice(problem)); }
  };
  let timer = 0;
  for (const control of Object.values(controls)) {
    control.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => load(), 250); });
  }
  main.append(h("h1", {}, "Episodes"),
    h("p", { class: "lead" }, `${totals.episodes.toLocaleString("en")} episode${totals.episodes === 1 ? "" : "s"}, ${duration(totals.duration_s)} in all.`),
    h("form", { class: "filters", role: "search", "aria-label": "Filter", onsubmit: (event) => event.preventDefault() },
      field("Robot", controls.robot), field("Outcome", controls.outcome), field("Policy", controls.policy), field("Tag", controls.tag),
      field("From", controls.from, null, "time"), field("To", controls.to, null, "time"), field("Coverage from, %", controls.coverage)), place, more);
  await load();
}

function list(rows) {
  return table("Episodes", [
    ["Recorded", (row) => (row.start_ns < 1e18 ? "virtual clock" : time(row.start_ns)), "brief"], ["Robot", (row) => row.robot, "brief"], ["Length", (row) => duration(row.duration_s), "number"],
    ["Outcome", (row) => row.outcome], ["Coverage", (row) => (row.coverage === null ? "–" : `${(row.coverage * 100).toFixed(1)} %`), "number"],
    ["Policy", (row) => (row.policy ? h("code", {}, row.policy.slice(0, 12)) : "–")],
    ["Tags", (row) => h("span", { class: "facts" }, Object.entries(row.tags).slice(0, 4).map(([key, value]) => `${key}: ${value.slice(0, 24)}`).join(", ") || "–")],
    ["Episode", (row) => h("code", {}, row.sha256.slice(0, 12))],
  ], rows);
}

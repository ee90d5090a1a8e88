// Speaks with the API: JSON, a bearer token, problems as exceptions. The token lives as long as the server says.

const KEY = "sim2real-session";

export class Problem extends Error {
  constructor(status, body) {
    super(body.message || `The server answered ${status}.`);
    this.status = status;
    this.code = body.code || `http_${status}`;
    this.remedy = body.remedy || "";
  }
}

export function session() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY));
    return found && found.until > Date.now() ? found : null;
  } catch { return null; }
}

const ORDER = ["viewer", "operator", "admin"];

/** Whether the signed-in person may do what needs `role`. */
export function may(role) {
  const found = session();
  return Boolean(found) && ORDER.indexOf(found.role) >= ORDER.indexOf(role);
}

export async function signIn(name, secret) {
  const given = await call("POST", "/sign-in", { name, secret });
  const until = Date.now() + given.expires_s * 1000;
  localStorage.setItem(KEY, JSON.stringify({ token: given.token, name, role: given.role, until }));
}

export function forget() { localStorage.removeItem(KEY); }

export async function signOut() {
  try { await call("POST", "/sign-out"); } finally { forget(); }
}

/** The JSON answer; null for 204. Throws Problem, with status 0 when the server cannot be reached. */
export async function call(method, path, body, query = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
  }
  const headers = {};
  const held = session();
  if (held) headers.Authorization = `Bearer ${held.token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, { code: "offline", message: "The server cannot be reached.", remedy: "Check the connection; nothing that arrived is lost." });
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    if (response.status === 401 && held) {
      forget();
      window.dispatchEvent(new Event("signed-out"));
    }
    throw new Problem(response.status, answer);
  }
  return answer;
}

// One file on its way: hashed, announced, sent in parts straight to the object store, checked by the server.
// Every step can be stopped and done again; which parts have arrived, the server knows.

import { Problem, call } from "./api.js";

const PART_BYTES = 8 * 2 ** 20;
const WINDOW = 6;
const TRIES = 6;
const FORMATS = { mcap: "mcap", csv: "csv", txt: "csv", parquet: "parquet", ulg: "ulog", bag: "rosbag1", db3: "rosbag2", h5: "hdf5", hdf5: "hdf5" };

class Stopped extends Error {}

/** Bytes a second over the last seconds, and how long the rest takes at that rate. */
export class Speed {
  constructor() { this.marks = []; }

  add(done) {
    const now = performance.now();
    this.marks.push([now, done]);
    while (this.marks.length > 2 && now - this.marks[0][0] > 6000) this.marks.shift();
  }

  get rate() {
    const first = this.marks[0];
    const last = this.marks.at(-1);
    if (!first || last[0] - first[0] < 300) return 0;
    return Math.max(0, (last[1] - first[1]) / (last[0] - first[0]) * 1000);
  }

  eta(left) { return this.rate > 0 ? left / this.rate : Infinity; }
}

export class Transfer extends EventTarget {
  /** `wish`: {robot, session, notes, priority, mapping_sha256}, the same for all files of one batch. */
  constructor(file, name, wish) {
    super();
    Object.assign(this, { file, name, wish, phase: "waiting", done: 0, share: 0, speed: new Speed(), problem: null, upload: null, receipt: null });
    this.wanted = true;
  }

  get busy() { return ["hashing", "sending", "checking"].includes(this.phase); }

  enter(phase) {
    this.phase = phase;
    this.speed = new Speed();
    this.moved(0);
  }

  moved(done, share) {
    this.done = done;
    this.share = share ?? (this.file.size ? done / this.file.size : 0);
    if (share === undefined) this.speed.add(done);
    this.dispatchEvent(new Event("change"));
  }

  pause() {
    this.wanted = false;
    if (this.request) this.request.abort();
    if (this.worker) { this.worker.terminate(); this.worker = null; this.stopHash?.(new Stopped()); }
    this.enter("paused");
  }

  resume() { this.wanted = true; this.problem = null; this.enter("waiting"); }

  /** Runs to the receipt, a pause or a problem; throws nothing. */
  async run() {
    try {
      if (!this.hash) { this.enter("hashing"); this.hash = await this.hashed(); }
      for (let round = 0; ; round += 1) {
        try {
          await this.carry();
          break;
        } catch (error) {
          // The server wants (part of) the file again.
          if (!(error instanceof Problem) || error.status !== 409 || round >= 2) throw error;
        }
      }
      this.enter("done");
    } catch (error) {
      if (error instanceof Stopped || !this.wanted) return;
      this.problem = error instanceof Problem ? error : new Problem(0, { message: error.message });
      this.enter("failed");
    }
  }

  async carry() {
    const { robot, session, notes, priority, mapping_sha256 } = this.wish;
    const ending = this.name.split(".").pop().toLowerCase();
    const state = await call("POST", "/uploads", {
      robot, sha256: this.hash.sha256, size: this.file.size, format: FORMATS[ending] || "unknown",
      idempotency_key: `${robot}/${this.hash.sha256}`, name: cleaned(this.name), session: session || null,
      notes: notes || "", priority, mapping_sha256: mapping_sha256 || null,
    });
    this.upload = state.upload;
    if (state.state === "start" || state.state === "resume") await this.send(new Set(state.received));
    await this.check(state);
  }

  async send(received) {
    this.enter("sending");
    let sent = this.hash.parts.filter((part) => received.has(part.number)).reduce((sum, part) => sum + part.size, 0);
    this.already = sent;
    this.moved(sent);
    const missing = this.hash.parts.filter((part) => !received.has(part.number));
    for (let at = 0; at < missing.length; at += WINDOW) {
      const parts = missing.slice(at, at + WINDOW);
      let slots = null;
      for (const part of parts) {
        for (let attempt = 1; ; attempt += 1) {
          this.check_wanted();
          try {
            slots ||= (await call("POST", `/uploads/${this.upload}/parts`, { parts })).parts;
            const slot = slots.find((one) => one.number === part.number);
            if (!slot.held) await this.put(slot, part, sent);
            break;
          } catch (error) {
            if (!this.wanted) throw new Stopped();
            // 403 from the store: the address has expired. Anything else there, and a lost connection: try again.
            const again = error instanceof Problem && (error.code === "store" || error.status === 0 || error.status === 503);
            if (!again || attempt >= TRIES) throw error;
            slots = null;
            await new Promise((resolve) => setTimeout(resolve, Math.min(8000, 300 * 2 ** attempt) * (0.5 + Math.random() / 2)));
          }
        }
        sent += part.size;
        this.moved(sent);
      }
    }
  }

  put(slot, part, sent) {
    const from = (part.number - 1) * PART_BYTES;
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.request = request;
      const failed = (message) => reject(new Problem(0, { code: "store", message, remedy: "Retry goes on from the parts that arrived." }));
      request.open("PUT", slot.url);
      for (const [name, value] of Object.entries(slot.headers)) if (name !== "content-length") request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => this.moved(sent + event.loaded);
      request.onload = () => (request.status < 300 ? resolve() : failed(`The object store refused part ${part.number} (${request.status}).`));
      request.onerror = () => failed("The object store cannot be reached.");
      request.onabort = () => reject(new Stopped());
      request.send(this.file.slice(from, from + part.size));
    });
  }

  /** Until the server has hashed and validated the whole. */
  async check(state) {
    if (!state.receipt) {
      this.enter("checking");
      state = await call("POST", `/uploads/${this.upload}/complete`, { wait_s: 0.3 });
    }
    while (!state.receipt) {
      this.check_wanted();
      if (state.problem && !state.progress) throw new Problem(409, state.problem);
      this.server = state.progress;
      this.moved(this.file.size, state.progress ? state.progress.share : 0);
      await new Promise((resolve) => setTimeout(resolve, 500));
      state = await call("GET", `/uploads/${this.upload}`);
      if (state.state === "verifying" && !state.progress && !state.problem) {
        state = await call("POST", `/uploads/${this.upload}/complete`, { wait_s: 0.3 });
      }
    }
    this.receipt = state.receipt;
  }

  check_wanted() { if (!this.wanted) throw new Stopped(); }

  hashed() {
    return new Promise((resolve, reject) => {
      this.stopHash = reject;
      this.worker = new Worker(new URL("./hasher.worker.js", import.meta.url), { type: "module" });
      const end = (act, value) => { this.worker?.terminate(); this.worker = null; act(value); };
      this.worker.onmessage = ({ data }) => {
        if (data.error) end(reject, new Error(data.error));
        else if (data.sha256) end(resolve, data);
        else this.moved(data.done);
      };
      this.worker.onerror = () => end(reject, new Error("The file cannot be hashed here."));
      this.worker.postMessage({ file: this.file, partBytes: PART_BYTES });
    });
  }
}

/** A name as the server takes it: no folders, no control characters, no first dot. */
function cleaned(name) {
  return name.split(/[/\\]/).pop().replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, "_").replace(/^\.+/, "").slice(-200) || "file";
}

/** Sends a photo of a note: {sha256, size, name, media_type}. */
export async function sendPhoto(note, file) {
  const worker = new Transfer(file, file.name, {});
  const { sha256 } = await worker.hashed();
  const photo = { sha256, size: file.size, name: cleaned(file.name), media_type: file.type };
  const slot = await call("POST", `/notes/${note}/slots`, photo);
  if (!slot.held) {
    const headers = Object.fromEntries(Object.entries(slot.headers).filter(([name]) => name !== "content-length"));
    const answer = await fetch(slot.url, { method: "PUT", headers, body: file });
    if (!answer.ok) throw new Problem(answer.status, { message: `The object store refused the photo (${answer.status}).` });
  }
  return call("POST", `/notes/${note}/photos/${sha256}/complete`, photo);
}

/** Runs waiting transfers, a few at a time. */
export class Queue {
  constructor(limit = 2) { this.limit = limit; this.items = []; }

  add(transfer) { this.items.push(transfer); this.turn(); }

  turn() {
    const free = this.limit - this.items.filter((one) => one.running).length;
    for (const one of this.items.filter((item) => item.phase === "waiting" && !item.running).slice(0, Math.max(0, free))) {
      one.running = true;
      one.run().finally(() => { one.running = false; this.turn(); });
    }
  }
}

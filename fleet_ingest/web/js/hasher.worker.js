// Hashes one file beside the page: the whole by pieces, each part by itself. Holds one part in memory.

import { Sha256, base64, hex } from "./sha256.js";

async function partDigest(bytes) {
  // WebCrypto is there on https and on loopback only.
  if (self.crypto && self.crypto.subtle) return new Uint8Array(await self.crypto.subtle.digest("SHA-256", bytes));
  return new Sha256().update(bytes).digest();
}

self.onmessage = async ({ data: { file, partBytes } }) => {
  try {
    const whole = new Sha256();
    const parts = [];
    for (let at = 0; at < file.size || at === 0; at += partBytes) {
      const bytes = new Uint8Array(await file.slice(at, at + partBytes).arrayBuffer());
      const digest = partDigest(bytes);
      whole.update(bytes);
      parts.push({ number: parts.length + 1, size: bytes.length, sha256: base64(await digest) });
      self.postMessage({ done: Math.min(file.size, at + bytes.length) });
      if (bytes.length < Math.min(partBytes, file.size - at)) throw new Error("the file changed while it was read");
    }
    self.postMessage({ sha256: hex(whole.digest()), parts });
  } catch (error) {
    self.postMessage({ error: `The file cannot be read: ${error.message}` });
  }
};

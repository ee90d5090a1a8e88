"""What became of files, in words: by upload id, by digest, by the file itself. Asks the API; changes nothing."""

from datetime import datetime
from pathlib import Path
from typing import Any

from fleet_ingest.robot.outgoing import digest_of
from flows.remote import Remote
from storage.contracts.errors import InputError

Fate = dict[str, Any]
IN, QUARANTINED, UNDER_WAY, NEVER = 0, 3, 8, 9
CODES = {"accepted": IN, "salvaged": IN, "quarantined": QUARANTINED, "receiving": UNDER_WAY, "verifying": UNDER_WAY}


def fates_of(remote: Remote, what: str) -> list[Fate]:
    """The fates of `what`: an upload's id, a SHA-256, or a file here. Empty when the server never saw it.

    Raises InputError when it is none of these.
    """
    if what.isdigit() and not Path(what).exists():
        return [remote.get(f"/uploads/{what}/fate")]
    sha256 = _digest(what)
    rows = remote.get("/uploads", sha256=sha256)["rows"]
    return [remote.get(f"/uploads/{row['id']}/fate") for row in rows]


def line_of(fate: Fate) -> str:
    """One line: which file, of whom, what became of it, since when."""
    line, state = fate["line"], fate["state"]
    name = line["name"] or line["sha256"][:12]
    when = datetime.fromtimestamp(line["updated_ns"] / 1e9).strftime("%Y-%m-%d %H:%M")
    more = ""
    if line["state"] in ("accepted", "salvaged"):
        number = len(state["receipt"]["episodes"]) if state["receipt"] else 0
        more = f", {number} episode{'' if number == 1 else 's'}"
    if line["state"] == "receiving":
        more = f", {len(state['received'])} of {state['parts']} parts arrived"
    reason = f" ({line['reason_code']})" if line["reason_code"] else ""
    words = "" if line["state"] == "accepted" else f". {line['words']}"
    return f"{name} of {line['robot']}: {line['state']}{reason}{more}, {when}, upload {line['id']}{words}"


def check_file(remote: Remote, path: Path) -> Fate:
    """Whether the file here is, byte for byte, what the server verified and keeps.

    `same` is None when the server has no file of this digest; `others` are files of that name with other digests.
    """
    sha256, size = digest_of(path), path.stat().st_size
    held = [r for r in remote.get("/uploads", sha256=sha256)["rows"] if r["state"] in CODES and CODES[r["state"]] < 8]
    others = [r for r in remote.get("/uploads", name=path.name[-200:])["rows"] if r["sha256"] != sha256]
    receipts = [receipt.model_dump(mode="json") for receipt in remote.sent.receipts(sha256)]
    return {
        "path": str(path), "sha256": sha256, "size": size, "same": bool(held) or None,
        "uploads": [r["id"] for r in held], "receipts": receipts,
        "others": [{"upload": r["id"], "sha256": r["sha256"], "size": r["size"]} for r in others],
    }  # fmt: skip


def _digest(what: str) -> str:
    path = Path(what)
    if path.is_file():
        return digest_of(path)
    if len(what) == 64 and not set(what) - set("0123456789abcdef"):
        return what
    raise InputError(
        f"'{what}' is neither a file here, nor an upload's number, nor a SHA-256",
        remedy="'sim2real uploads list' shows what was sent.",
    )

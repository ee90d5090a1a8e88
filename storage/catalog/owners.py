"""Who holds a claim: a process, named so that others on the same machine can tell that it is gone.

`<machine>/<boot>/<pid>/<start>[/<suffix>]`. Processes of other machines, or behind another pid namespace, cannot be
seen; their claims end by lease alone.
"""

import platform
from functools import cache
from pathlib import Path

from storage.embedded.process import Identity, boot_id, is_alive, own_identity


def this_process(suffix: str = "") -> str:
    """The owner string of this process; a suffix tells several holders within one process apart."""
    own = own_identity()
    owner = f"{_machine()}/{own.boot}/{own.pid}/{own.started}"
    return f"{owner}/{suffix}" if suffix else owner


def is_known_dead(owner: str) -> bool:
    """True only if the process certainly runs no more: it was of this machine, and is gone or from before a reboot."""
    parts = owner.split("/")
    if len(parts) < 4 or parts[0] != _machine() or not parts[2].isdigit():
        return False
    if parts[1] != boot_id():
        return True
    return not is_alive(Identity(int(parts[2]), parts[3], parts[1]))


@cache
def _machine() -> str:
    """Host name and, on Linux, the pid namespace: containers share the boot id but not the sight of processes."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{platform.node()}{namespace}".replace("/", "_")

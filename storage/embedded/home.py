"""The installation's directory, SIM2REAL_HOME, and what is where in it. Two homes are two installations.

Everything durable is under the home; sockets and temporary files are in a short private runtime directory outside,
which goes away when the stack stops. This module makes directories and nothing else.
"""

import hashlib
import os
import stat
from pathlib import Path

from storage.contracts.errors import UnavailableError

_SHARED_TMP = Path("/tmp")  # macOS's own TMPDIR is too long for a socket path (104 bytes; 107 on Linux)


class Home:
    """`Home(path)` makes the directory if need be, mode 0700. Raises UnavailableError where that cannot be done."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UnavailableError(
                f"SIM2REAL_HOME {self.path} cannot be made: {error.strerror}",
                remedy="set SIM2REAL_HOME to another place",
            ) from error
        self.path = self.path.resolve()

    @classmethod
    def default(cls) -> "Home":
        """$SIM2REAL_HOME, else ~/.sim2real."""
        return cls(os.environ.get("SIM2REAL_HOME") or Path.home() / ".sim2real")

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    @property
    def key(self) -> str:
        """12 hex digits that tell this home from others on the machine."""
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]

    @property
    def catalog_url(self) -> str:
        """SQLAlchemy URL of the embedded catalog."""
        return f"sqlite:///{self.path / 'catalog.sqlite'}"

    @property
    def s3_dir(self) -> Path:
        return self._made("s3")

    @property
    def prefect_dir(self) -> Path:
        return self._made("prefect")

    @property
    def logs_dir(self) -> Path:
        return self._made("logs")

    @property
    def checkpoints_dir(self) -> Path:
        return self._made("checkpoints")

    @property
    def work_dir(self) -> Path:
        return self._made("work")

    @property
    def stack_dir(self) -> Path:
        """The supervisor's own records."""
        return self._made("stack")

    @property
    def runtime_path(self) -> Path:
        """Where the runtime directory is or would be: at most 40 characters."""
        return _SHARED_TMP / f"s2r-{os.getuid()}-{self.key}"

    @property
    def runtime_dir(self) -> Path:
        """The runtime directory, made with mode 0700. Raises UnavailableError when it is somebody else's."""
        path = self.runtime_path
        path.mkdir(exist_ok=True, mode=0o700)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise UnavailableError(
                f"{path} is not a private directory of this user", remedy=f"look at who made it, then remove {path}"
            )
        return path

    def _made(self, name: str) -> Path:
        path = self.path / name
        path.mkdir(exist_ok=True, mode=0o700)
        return path

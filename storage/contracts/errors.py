"""The exception tree of the engine, split by whose fault it is.

    Sim2RealError                 exit code 1
    ├── InputError           2    the user's words or files are wrong; nothing was changed
    │   ├── UnknownName           a name that does not exist, with the names that do
    │   └── ContractError         a value that breaks a contract of this package
    ├── DataError            3    data that failed validation; it is kept, and the error says where
    ├── UnavailableError     4    a server or resource that cannot be reached or is full
    ├── ConflictError        5    somebody else changed the same thing first, or holds it
    └── IncompatibleError    6    made by a newer version of the engine than this one

Every message says what was wrong and what would be right. This module does not print and does not exit.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class Sim2RealError(Exception):
    """Base of all errors that a user may see. `remedy` is one sentence that says what to do."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class InputError(Sim2RealError):
    exit_code = 2


class UnknownName(InputError):
    """`what` named `name` does not exist; `valid` are the ones that do, None where listing them would not help."""

    def __init__(self, what: str, name: str, valid: Iterable[str] | None, *, remedy: str = "") -> None:
        if valid is None:
            super().__init__(f"there is no {what} '{name}'", remedy=remedy)
            return
        names = sorted(set(valid))
        close = get_close_matches(name, names, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        super().__init__(f"unknown {what} '{name}'; known: {listed or 'none yet'}.{hint}", remedy=remedy)


class ContractError(InputError, ValueError):
    """A value that breaks a contract. Also a ValueError, so that pydantic collects it."""


class DataError(Sim2RealError):
    """Data that failed validation. `code` is a short stable reason, e.g. `truncated`."""

    exit_code = 3

    def __init__(self, message: str, *, code: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class UnavailableError(Sim2RealError):
    exit_code = 4


class ConflictError(Sim2RealError):
    exit_code = 5


class IncompatibleError(Sim2RealError):
    exit_code = 6

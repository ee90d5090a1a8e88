import socket
from pathlib import Path

import pytest

from storage.contracts.errors import UnavailableError
from storage.embedded import ports
from storage.embedded.ports import PortBook


def listener(port: int) -> socket.socket:
    found = socket.socket()
    found.bind(("127.0.0.1", port))
    found.listen()
    return found


def test_ports_are_kept_on_disk(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports.json")
    first = book.take("s3", ["s3", "master"])
    other = book.take("web", ["http"])
    assert len({*first.values(), *other.values()}) == 3
    again = PortBook(tmp_path / "ports.json")
    assert again.take("s3", ["s3", "master"]) == first
    assert again["web"] == other


def test_a_port_whose_twin_is_taken_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = PortBook(tmp_path / "a.json").take("x", ["p"])["p"]
    monkeypatch.setattr(ports, "LOW", start)
    monkeypatch.setattr(ports, "SPAN", 2)
    with listener(start + 10_000):
        assert PortBook(tmp_path / "b.json").take("x", ["p"])["p"] == start + 1
        with listener(start + 1), pytest.raises(UnavailableError, match=f"{start} to {start + 1}"):
            PortBook(tmp_path / "c.json").take("x", ["p"])


def test_a_port_that_a_stranger_took_is_drawn_again(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports.json")
    before = book.take("web", ["http", "admin"])
    with listener(before["http"]):
        after = book.take("web", ["http", "admin"])
    assert after["http"] not in before.values()
    assert after["admin"] == before["admin"]


def test_all_ports_and_their_twins_are_below_the_range_of_outgoing_connections() -> None:
    assert ports.LOW == 20_000
    assert ports.LOW + ports.SPAN + ports.TWIN <= 32_768

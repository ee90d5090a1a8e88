from collections.abc import Callable
from pathlib import Path

import pytest

from storage.contracts.errors import UnavailableError
from storage.embedded.home import Home


def test_the_variable_names_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIM2REAL_HOME", str(tmp_path / "here"))
    assert Home.default().path == (tmp_path / "here").resolve()
    assert Home.default().catalog_url == f"sqlite:///{(tmp_path / 'here').resolve()}/catalog.sqlite"


def test_directories_are_private(home: Home) -> None:
    for path in (
        home.path,
        home.s3_dir,
        home.prefect_dir,
        home.logs_dir,
        home.checkpoints_dir,
        home.work_dir,
        home.stack_dir,
    ):
        assert path.stat().st_mode & 0o777 == 0o700


def test_the_runtime_directory_leaves_room_for_ray_sockets(make_home: Callable[[str], Home]) -> None:
    home = make_home("h" * 200)
    # the longest socket that Ray makes, on a system with 7-digit pids; macOS takes 103 bytes and has 5-digit pids
    socket = home.runtime_path / "ray" / "session_2026-11-22_17-41-59_849219_1234567" / "sockets" / "plasma_store"
    assert len(str(home.runtime_path)) <= 40
    assert len(str(socket)) <= 103


def test_two_homes_have_two_runtime_directories(make_home: Callable[[str], Home]) -> None:
    assert make_home("a").runtime_path != make_home("b").runtime_path


def test_a_runtime_directory_that_others_may_read_is_refused(home: Home) -> None:
    home.runtime_path.mkdir(mode=0o755)
    try:
        with pytest.raises(UnavailableError, match="not a private directory"):
            home.runtime_dir.exists()
    finally:
        home.runtime_path.rmdir()


def test_a_link_in_place_of_the_runtime_directory_is_refused(home: Home, tmp_path: Path) -> None:
    home.runtime_path.symlink_to(tmp_path)
    try:
        with pytest.raises(UnavailableError, match="not a private directory"):
            home.runtime_dir.exists()
    finally:
        home.runtime_path.unlink()


def test_a_home_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="Not a directory"):
        Home(tmp_path / "file" / "home")

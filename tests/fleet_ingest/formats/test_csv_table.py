"""CSV in the dialects that people write, read without being told which."""

from pathlib import Path

import numpy as np
import pytest

from fleet_ingest.formats.csv_dialect import CsvOptions
from fleet_ingest.formats.read import read_log
from storage.contracts.errors import DataError

ROWS = [(0.0, 1.5, -2.0), (0.1, 1.25, 4.0), (0.2, -0.5, 1e-3), (0.3, 2.0, 7.0)]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def table(separator: str = ",", decimal: str = ".", header: str = "t,a,b") -> str:
    lines = [header.replace(",", separator)] if header else []
    lines += [separator.join(f"{v:g}".replace(".", decimal) for v in row) for row in ROWS]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (table(), "utf-8"),
        (table(";"), "utf-8"),
        (table(";", ","), "utf-8"),
        (table("\t", ","), "utf-8"),
        (table("|"), "utf-8"),
        (table(" "), "utf-8"),
        (table(" ").replace(" ", "    "), "utf-8"),
        (table().replace("\n", "\r\n"), "utf-8"),
        (table(), "utf-8-sig"),
        (table(), "utf-16"),
        ("# logger 3\n# unit 7\n" + table(), "utf-8"),
        ("Device: X200\nOperator: A. B.\n\n" + table(), "utf-8"),
        ("t,a,b\ns,rad,N\n" + table(header=""), "utf-8"),
        ("# t,a,b\n" + table(header=""), "utf-8"),
        (table(header=" t , a , b "), "utf-8"),
        (table().rstrip("\n"), "utf-8"),
        ("\ufeff\n" + table(";", ","), "utf-8"),
    ],
    ids=["comma", "semicolon", "decimal comma", "tab comma", "bar", "space", "spaces", "crlf", "bom", "utf16",
         "comments",
         "preamble", "units row", "savetxt header", "padded names", "no last newline", "bom and blank line"],
)  # fmt: skip
def test_dialects_give_the_same_numbers(tmp_path: Path, text: str, encoding: str) -> None:
    raw = read_log(write(tmp_path / "x.csv", text, encoding))
    assert raw.names == ("t", "a", "b")
    found = np.stack([raw.series[name].values for name in raw.names], axis=1)
    np.testing.assert_allclose(found, ROWS, rtol=1e-12)
    assert not [flag for flag in raw.salvage if flag.code != "open_end"]


def test_without_a_header_columns_are_numbered(tmp_path: Path) -> None:
    raw = read_log(write(tmp_path / "x.csv", table(header="")))
    assert raw.names == ("column_1", "column_2", "column_3")
    assert len(raw.series["column_1"].values) == 4
    named = read_log(tmp_path / "x.csv", csv=CsvOptions(names=("t", "a", "b")))
    assert named.series["b"].values.tolist() == [-2.0, 4.0, 0.001, 7.0]


def test_units_row_is_kept_as_a_fact(tmp_path: Path) -> None:
    raw = read_log(write(tmp_path / "x.csv", "t,a,b\n[s],[deg],[N]\n" + table(header="")))
    assert raw.metadata["unit:a"] == "deg"


def test_repeated_and_empty_names_are_told_apart(tmp_path: Path) -> None:
    raw = read_log(write(tmp_path / "x.csv", "t,a,a,\n0,1,2,3\n1,4,5,6\n"))
    assert raw.names == ("t", "a", "a_2", "column_4")
    assert raw.series["a_2"].values.tolist() == [2, 5]


@pytest.mark.parametrize("header", ["t,a,b", "t,a,b,"])
def test_rows_that_end_in_a_separator(tmp_path: Path, header: str) -> None:
    raw = read_log(
        write(tmp_path / "x.csv", table(header=header).replace("\n", ",\n").replace(f"{header},\n", f"{header}\n"))
    )
    assert raw.names == ("t", "a", "b", "column_4")
    assert raw.series["b"].values.tolist() == [-2.0, 4.0, 0.001, 7.0]


def test_missing_values_and_text_among_numbers(tmp_path: Path) -> None:
    raw = read_log(write(tmp_path / "x.csv", "t,a,b\n0,NaN,1\n1,,oops\n2,3.5,2\n"))
    assert np.isnan(raw.series["a"].values[:2]).all()
    assert raw.series["a"].values[2] == 3.5
    assert list(raw.series["b"].values) == ["1", "oops", "2"]


def test_only_wanted_columns_are_read(tmp_path: Path) -> None:
    raw = read_log(write(tmp_path / "x.csv", table()), columns={"a"})
    assert set(raw.series) == {"a"}
    assert raw.names == ("t", "a", "b")


@pytest.mark.parametrize(
    ("text", "options", "code", "words"),
    [
        ("", None, "empty", "0 bytes"),
        ("\n\n", None, "empty", "white space"),
        ("t,a,b\n", None, "empty", "no rows"),
        (table(";"), CsvOptions(separator=","), "wrong_separator", "';'"),
        ("t,a,b\n" + "1,2\n" * 20 + "1,2,3\n" * 30, None, "ragged", "20 of 50"),
        ("a,b,c,d\n1,2,3\n4,5,6\n", None, "header_mismatch", "4 names"),
    ],
)
def test_unreadable_files_say_why(tmp_path: Path, text: str, options: CsvOptions | None, code: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_log(write(tmp_path / "x.csv", text), csv=options)
    assert caught.value.code == code
    assert words in f"{caught.value} {caught.value.remedy}"


def test_a_cut_last_row_is_told_as_truncated(tmp_path: Path) -> None:
    raw = read_log(write(tmp_path / "x.csv", table() + "0.4,3"))
    assert [flag.code for flag in raw.salvage] == ["truncated"]
    assert len(raw.series["t"].values) == 4


def test_odd_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [f"{i},1,2" for i in range(50)]
    rows[20] = "20,1,2,3,4"
    raw = read_log(write(tmp_path / "x.csv", "t,a,b\n" + "\n".join(rows) + "\n"))
    assert [(flag.code, flag.count) for flag in raw.salvage] == [("ragged_rows", 1)]
    assert len(raw.series["t"].values) == 49


def test_large_whole_numbers_stay_exact(tmp_path: Path) -> None:
    stamp = 1_700_000_000_123_456_789
    raw = read_log(write(tmp_path / "x.csv", f"t,a\n{stamp},1\n{stamp + 1},2\n"))
    assert raw.series["t"].values.tolist() == [stamp, stamp + 1]

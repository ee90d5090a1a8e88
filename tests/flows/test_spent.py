"""Where the time went, against seconds added up by hand."""

from flows.report.spent import between_steps, step_names, time_table

RECORDS = [
    {"iteration": 0, "wall_seconds_by_step": {"robots": 1.25, "train policy": 20.0}},
    {"iteration": 1, "wall_seconds_by_step": {"between steps": 0.5, "robots": 1.0, "train policy": 12.0}},
]


def test_every_second_is_in_the_table() -> None:
    assert step_names(RECORDS) == ["train policy", "robots", "between steps"]
    found = time_table(RECORDS, before_s=7.5)
    assert found["columns"] == ["seconds", "train policy", "robots", "between steps", "all"]
    assert found["rows"] == [
        ["first logs", "-", "-", "-", "7.5"],
        ["iteration 0", "20.0", "1.2", "-", "21.2"],  # of a time in which nobody counted what lies between
        ["iteration 1", "12.0", "1.0", "0.5", "13.5"],
    ]


def test_what_no_step_accounts_for_is_counted_once() -> None:
    assert between_steps(25.0, {"train": 20.0, "robots": 1.25}) == 3.75
    # Steps found done took their time in an earlier run: this iteration was shorter than they were.
    assert between_steps(0.2, {"train": 20.0}) == 0.0

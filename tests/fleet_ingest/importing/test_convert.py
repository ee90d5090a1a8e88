"""From raw series to episodes: units, grids, splits, masks, quality, and errors in plain words."""

from typing import Any

import numpy as np
import pytest

from fleet_ingest.convert import CONVERTER, convert, convert_log, safe_serial
from fleet_ingest.formats.rawlog import RawLog, Series
from fleet_ingest.mapping import Mapping
from storage.codecs.episodes import decode_episode, encode_episode
from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError, DataError

SHA = "a" * 64
RATE = 200
CHANNELS: list[dict[str, Any]] = [
    {"column": "q", "name": "q", "kind": "angle", "unit": "deg", "entity": "joint"},
    {"column": "dq", "name": "dq", "kind": "linear", "unit": "deg/s", "entity": "joint", "derivative_of": "q"},
    {
        "column": "u",
        "name": "u",
        "kind": "effort",
        "role": "command",
        "unit": "mN*m",
        "entity": "joint",
        "limits": [-2000, 2000],
    },
]


def mapping(**fields: Any) -> Mapping:
    return Mapping.model_validate(
        {"name": "arm", "time": {"column": "t", "unit": "s"}, "rate_hz": 100, "channels": CHANNELS, **fields}
    )


def raw(seconds: float = 2.0, **columns: Any) -> RawLog:
    """q = 90 deg * t, dq = 90 deg/s, u = 1000 mN m * floor(10 t)."""
    t = np.arange(int(seconds * RATE) + 1) / RATE
    found = {"t": t, "q": 90.0 * t, "dq": np.full_like(t, 90.0), "u": 1000.0 * np.floor(10 * t + 1e-9), **columns}
    series = {name: Series(np.asarray(values)) for name, values in found.items() if values is not None}
    return RawLog("csv", series, tuple(series))


def codes(episode: Episode) -> dict[tuple[str, str | None], int]:
    return {(flag.code, flag.channel): flag.count for flag in episode.quality}


def test_values_are_in_si_on_the_grid() -> None:
    (episode,) = convert(raw(), mapping(), "arm-1", SHA)
    assert episode.robot == "arm-1"
    assert episode.steps == 200
    assert np.diff(episode.time_ns).tolist() == [10_000_000] * 200
    np.testing.assert_allclose(episode.column("q"), np.pi / 2 * episode.time_s, atol=1e-12)
    np.testing.assert_allclose(episode.column("dq"), np.pi / 2)
    np.testing.assert_allclose(episode.command[:, 0], np.floor(10 * episode.time_s[:-1] + 1e-9))
    assert episode.state_valid.all()
    assert episode.command_valid.all()
    assert episode.spec.channel("u").limits == (-2.0, 2.0)
    assert (episode.provenance.converter, episode.provenance.mapping_sha256) == (CONVERTER, mapping().digest)
    assert encode_episode(decode_episode(encode_episode(episode))) == encode_episode(episode)


def test_sign_scale_and_offset() -> None:
    channels = [{**CHANNELS[0], "sign": -1, "scale": 2.0, "offset": 10.0}, CHANNELS[2]]
    (episode,) = convert(raw(), mapping(channels=channels), "arm-1", SHA)
    np.testing.assert_allclose(episode.column("q"), np.radians(-2 * 90 * episode.time_s + 10), atol=1e-12)


def test_equal_input_gives_equal_bytes() -> None:
    first, again = (encode_episode(convert(raw(), mapping(), "arm-1", SHA)[0]) for _ in range(2))
    assert first == again


def test_pauses_split() -> None:
    t = np.arange(401) / RATE
    t[200:] += 1.0
    found = convert_log(raw(t=t), mapping(), raw_sha256=SHA)
    assert found.gaps == 1
    assert [e.steps for e in found.episodes] == [99, 100]
    assert [e.provenance.part for e in found.episodes] == [0, 1]
    assert len(convert(raw(t=t), mapping(gap_s=2.0), "a", SHA)) == 1


def test_time_in_milliseconds_and_a_wrong_unit() -> None:
    t = np.arange(401) * 5
    (episode,) = convert(raw(t=t), mapping(time={"column": "t", "unit": "ms"}), "a", SHA)
    assert episode.duration_s == pytest.approx(2.0)
    with pytest.raises(DataError, match="a row every 5 s") as caught:
        convert(raw(t=t), mapping(time={"column": "t", "unit": "s"}), "a", SHA)
    assert caught.value.code == "time_unit"
    assert "unit: ms" in caught.value.remedy


def test_rows_without_time_have_a_rate() -> None:
    (episode,) = convert(raw(t=None), mapping(time={"rate_hz": 50}), "a", SHA)
    assert episode.duration_s == pytest.approx(8.0)
    with pytest.raises(DataError, match="names no time column") as caught:
        convert(raw(), mapping(time={}), "a", SHA)
    assert caught.value.code == "missing_time"


def test_seconds_and_nanoseconds_in_two_columns() -> None:
    ns = np.arange(401) * 5_000_000
    log = raw(t=ns // 10**9, ns=ns % 10**9)
    (episode,) = convert(log, mapping(time={"column": "t", "unit": "s", "nanoseconds_column": "ns"}), "a", SHA)
    assert episode.time_ns[-1] == 2 * 10**9


def test_rate_is_the_log_s_own_when_none_is_given() -> None:
    jitter = np.random.default_rng(0).uniform(-1e-3, 1e-3, 401)
    found = convert_log(raw(t=np.arange(401) / RATE + jitter), mapping(rate_hz=None), raw_sha256=SHA)
    assert found.rate_hz == 200
    assert ("jitter", None) in codes(found.episodes[0])


def test_missing_columns() -> None:
    with pytest.raises(DataError, match="channel 'q': no column 'q'") as caught:
        convert(raw(q=None, qq=np.zeros(401)), mapping(), "a", SHA)
    assert caught.value.code == "missing_column"
    assert "Did you mean 'qq'?" in str(caught.value)
    channels = [CHANNELS[0], {**CHANNELS[1], "optional": True}, {**CHANNELS[2], "optional": True}]
    (episode,) = convert(raw(dq=None, u=None), mapping(channels=channels), "a", SHA)
    assert episode.state_valid[:, 0].all()
    assert not episode.state_valid[:, 1].any()
    assert not episode.command_valid.any()
    assert codes(episode)["channel_absent", "dq"] == 1


def test_a_default_stands_for_a_missing_input() -> None:
    channels = [*CHANNELS[:2], {**CHANNELS[2], "optional": True, "default": 0.25}]
    (episode,) = convert(raw(u=None), mapping(channels=channels), "a", SHA)
    assert (episode.command == 0.25).all()
    assert episode.command_valid.all()


def test_exogenous_inputs() -> None:
    push = {"column": "push", "name": "push", "kind": "effort", "role": "exogenous", "unit": "N*m", "optional": True}
    (episode,) = convert(raw(push=np.full(401, 0.5)), mapping(channels=[*CHANNELS, push]), "a", SHA)
    assert (episode.exogenous == 0.5).all()
    (calm,) = convert(raw(), mapping(channels=[*CHANNELS, push]), "a", SHA)
    assert (calm.exogenous == 0.0).all()
    assert calm.spec == episode.spec


def test_nan_runs_are_masked_counted_and_finite() -> None:
    q = 90.0 * np.arange(401) / RATE
    q[100:180] = np.nan
    (episode,) = convert(raw(q=q), mapping(), "a", SHA)
    assert codes(episode)["not_a_number", "q"] == 80
    assert np.isfinite(episode.state).all()
    assert 36 <= (~episode.state_valid[:, 0]).sum() <= 42
    assert episode.state_valid[:, 1].all()


def test_text_among_numbers_and_columns_of_text() -> None:
    q = np.array([str(v) for v in 90.0 * np.arange(401) / RATE], dtype=object)
    q[7] = "ERR"
    (episode,) = convert(raw(q=q), mapping(), "a", SHA)
    assert codes(episode)["text_in_numbers", "q"] == 1
    np.testing.assert_allclose(episode.column("q"), np.pi / 2 * episode.time_s, atol=1e-9)
    words = np.array([f"{v:.2f}".replace(".", ",") for v in np.arange(401.0)], dtype=object)
    with pytest.raises(DataError, match=r"holds text, e\.g\. '0,00' in row 1") as caught:
        convert(raw(q=words), mapping(), "a", SHA)
    assert caught.value.code == "not_numbers"
    assert "decimal" in caught.value.remedy


def test_several_robots_and_runs_in_one_table() -> None:
    unit = np.array(["left", "right"] * 200 + ["left"], dtype=object)
    trial = np.repeat([3, 1], [201, 200])
    found = convert_log(
        raw(unit=unit, trial=trial), mapping(robot_column="unit", episode_column="trial", gap_s=0.5), raw_sha256=SHA
    )
    assert [(e.robot, e.tags["run"]) for e in found.episodes] == [
        ("left", "3"),
        ("left", "1"),
        ("right", "3"),
        ("right", "1"),
    ]
    for episode in found.episodes:
        np.testing.assert_allclose(episode.column("q"), np.pi / 2 * episode.time_ns * 1e-9, atol=1e-9)


def test_a_clock_that_starts_again_begins_a_new_run() -> None:
    t = np.concatenate([np.arange(200), np.arange(201)]) / RATE
    q = np.concatenate([90.0 * t[:200], -90.0 * t[200:]])
    found = convert_log(raw(t=t, q=q), mapping(), raw_sha256=SHA)
    assert len(found.episodes) == 2
    assert found.episodes[1].column("q")[-1] == pytest.approx(-np.pi / 2)
    assert "clock_reset" in {flag.code for flag in found.flags}


def test_reward_termination_context_and_requested() -> None:
    more: list[dict[str, Any]] = [
        {"column": "r", "name": "r", "kind": "scalar", "role": "reward"},
        {"column": "end", "name": "end", "kind": "event", "role": "termination"},
        {"column": "load", "name": "load", "kind": "scalar", "role": "context", "unit": "kg"},
    ]
    asked = {**CHANNELS[2], "requested_column": "want"}
    end = np.zeros(401)
    end[200] = 1
    log = raw(r=np.arange(401.0), end=end, load=np.full(401, 2.5), want=np.full(401, 3000.0))
    first, second = convert(log, mapping(channels=[*CHANNELS[:2], asked, *more]), "a", SHA)
    assert (first.terminated, second.terminated) == (True, False)
    assert first.reward[:3].tolist() == [0.0, 2.0, 4.0]
    assert first.tags["load"] == "2.5"
    assert (first.command_requested == 3.0).all()


def test_categories_and_directions_and_lists() -> None:
    t = np.arange(401) / RATE
    channels: list[dict[str, Any]] = [
        {"column": ["c", "s"], "name": "heading", "kind": "direction"},
        {"column": "mode", "name": "mode", "kind": "category", "labels": ["off", "on"]},
        {"column": "arm[1]", "name": "elbow", "kind": "angle", "unit": "rad"},
    ]
    mode = np.where(t < 1.0, "off", "on").astype(object)
    log = raw(c=np.cos(t), s=np.sin(t), mode=mode, arm=np.stack([t, 2 * t], axis=1))
    (episode,) = convert(log, mapping(channels=channels), "a", SHA)
    np.testing.assert_allclose(episode.column("heading")[:, 1], np.sin(episode.time_s), atol=1e-5)
    assert episode.column("mode")[[0, -1]].tolist() == [0.0, 1.0]
    np.testing.assert_allclose(episode.column("elbow"), 2 * episode.time_s, atol=1e-12)
    with pytest.raises(DataError, match="'arm' has 2 values a row"):
        convert(log, mapping(channels=[{"column": "arm[5]", "name": "x", "kind": "scalar"}]), "a", SHA)


def test_quality_flags() -> None:
    q = np.where(np.arange(401) < 300, 10.0, 90.0 * np.arange(401) / RATE)
    (episode,) = convert(raw(q=q, u=np.full(401, 2500.0)), mapping(nominal_rate_hz=210), "a", SHA)
    found = codes(episode)
    assert found["stuck", "q"] == 300
    assert found["out_of_limits", "u"] == 401
    assert ("clock_rate", None) in found


@pytest.mark.parametrize(
    ("factor", "words"), [(-1.0, "sign is turned"), (180 / np.pi, "in degrees"), (7.0, "a wrong unit")]
)
def test_a_derivative_in_the_wrong_unit_is_flagged(factor: float, words: str) -> None:
    t = np.arange(401) / RATE
    (good,) = convert(raw(q=50 * np.sin(3 * t), dq=150 * np.cos(3 * t)), mapping(), "a", SHA)
    assert ("derivative_mismatch", "dq") not in codes(good)
    (bad,) = convert(raw(q=50 * np.sin(3 * t), dq=factor * 150 * np.cos(3 * t)), mapping(), "a", SHA)
    detail = next(flag.detail for flag in bad.quality if flag.code == "derivative_mismatch")
    assert words in detail


def test_nothing_left_says_why() -> None:
    with pytest.raises(DataError) as caught:
        convert(raw(q=np.full(401, np.nan), dq=np.full(401, np.nan)), mapping(), "a", SHA)
    assert caught.value.code == "nothing_measured"
    with pytest.raises(DataError) as caught:
        convert(raw(0.05), mapping(), "a", SHA)
    assert caught.value.code == "nothing_measured"
    with pytest.raises(DataError) as caught:
        convert(raw(t=np.zeros(401)), mapping(), "a", SHA)
    assert caught.value.code == "too_short"


def test_serial_names() -> None:
    assert safe_serial("../../etc/pass wd\n") == "etc-pass-wd"
    assert safe_serial("C.1") == "C.1"
    with pytest.raises(ContractError, match="no serial name"):
        safe_serial("../..")


def test_topics_are_cut_to_their_common_time() -> None:
    fast, slow = np.arange(0, 2_000_000_001, 5_000_000), np.arange(300_000_000, 1_800_000_000, 10_000_000)
    series = {
        "/j.q": Series(fast * 90e-9, fast, "/j"), "/v.dq": Series(np.full(len(slow), 90.0), slow, "/v"),
        "/u.v": Series(np.arange(8.0) * 100, np.arange(8) * 250_000_000, "/u"),
    }  # fmt: skip
    channels = [
        {**CHANNELS[0], "column": "/j.q"},
        {**CHANNELS[1], "column": "/v.dq"},
        {**CHANNELS[2], "column": "/u.v"},
    ]
    (episode,) = convert(RawLog("mcap", series, tuple(series)), mapping(channels=channels, time={}), "a", SHA)
    assert episode.time_ns[0] == 300_000_000
    assert episode.time_ns[-1] == 1_790_000_000
    np.testing.assert_allclose(episode.column("q"), np.pi / 2 * episode.time_ns * 1e-9, atol=1e-9)
    np.testing.assert_allclose(episode.command[:, 0], np.floor(episode.time_ns[:-1] / 250e6) * 0.1)
    assert episode.command_valid.all()

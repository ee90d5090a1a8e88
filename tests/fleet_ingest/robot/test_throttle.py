"""The bandwidth cap against a clock that the test moves."""

import pytest

from fleet_ingest.robot import throttle as module
from fleet_ingest.robot.throttle import Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("rate", [1e4, 1e6, 2.5e6])
def test_ten_seconds_carry_ten_times_the_rate(monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    throttle, sent = Throttle(rate, sleep=clock.sleep), 0
    data = bytes(2**20)
    begun = clock.now
    while clock.now < begun + 10.0:
        for piece in throttle.chunks(data):
            sent += len(piece)
            if clock.now >= begun + 10.0:
                break
    assert sent == pytest.approx(10 * rate, rel=0.05)


def test_a_pause_saves_up_a_quarter_of_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    throttle = Throttle(1e5, sleep=clock.sleep)
    list(throttle.chunks(bytes(1000)))
    clock.now += 3600.0
    begun = clock.now
    pieces = b"".join(throttle.chunks(bytes(range(256)) * 2000))
    assert pieces == bytes(range(256)) * 2000
    assert clock.now - begun == pytest.approx(5.12 - 0.25, abs=0.1)

"""Robots, API and S3 killed again and again, long outages, logs of several parts: nothing lost, nothing twice."""

import random
import time
from pathlib import Path

import pytest

from tests.fleet_ingest.harness import FLEET, Works, linear_policy, plan, undisturbed, wait_for


@pytest.mark.timeout(1200)
def test_many_kills_and_long_outages(tmp_path: Path) -> None:
    works = Works(tmp_path, [FLEET.serial(i) for i in (1, 2, 3)], episodes=12)
    try:
        works.start()
        wait_for(lambda: works.robots[0].logged()[0] >= 1, 60, "the first log")
        for server, seconds in ((works.api, 30.0), (works.s3, 30.0), (works.api, 1.0), (works.s3, 1.0)):
            server.kill()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                robot = random.choice(works.robots)
                robot.kill()
                robot.start()
                time.sleep(random.uniform(0.2, 3.0))
            server.start()
            time.sleep(random.uniform(2.0, 4.0))
        for _ in range(15):
            victim = random.choice([*works.robots, works.api, works.s3])
            victim.kill()
            victim.start()
            time.sleep(random.uniform(0.1, 2.5))
        wait_for(works.done, 300, "the completion of all assignments")
        works.check()
    finally:
        works.stop()


@pytest.mark.timeout(600)
def test_a_log_of_several_parts_survives_kills_in_the_middle(tmp_path: Path) -> None:
    works = Works(tmp_path, [FLEET.serial(1)], episodes=1)
    try:
        robot = works.robots[0]
        robot.argv[robot.argv.index("--driver") + 1] = "standin:cartpole"
        long = plan(1, "random", seed=9, duration_s=1800.0)
        row = works.catalog.assignments.assign("c/0/long", robot.serial, long, None)
        works.expected[robot.serial] += undisturbed(row, *linear_policy([0.0] * 4))
        works.start()
        robot.crash(lambda: robot.logged()[0] >= 4, 0.05)
        for _ in range(4):
            if robot.logged()[1]:
                time.sleep(random.uniform(0.7, 1.5))
                random.choice([robot, works.api]).kill()
                robot.kill()
                robot.start()
                if not works.api.alive:
                    works.api.start()
        wait_for(works.done, 120, "the completion of all assignments")
        assert max(row.size for row in works.catalog.uploads.list()) > 2 * 8 * 2**20
        works.check()
    finally:
        works.stop()

"""Four processes at once on one catalog: no update is lost, no number given twice, no step run twice."""

import multiprocessing
import random
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from storage.catalog.catalog import Catalog
from storage.contracts.robot import RobotSpec

PROCESSES = 4
ROUNDS = 25
ARGUMENTS = {"robot": "pendulum", "iterations": 2}


def work(url: str, name: int, barrier: Barrier, results: "multiprocessing.Queue[dict[str, Any]]") -> None:
    """What each process does, all in the same order of kinds and in its own order of keys."""
    owner = f"process-{name}"
    with Catalog.open(url) as catalog:
        barrier.wait(60)
        opened, outcome = catalog.campaigns.open(ARGUMENTS)
        upload = catalog.uploads.begin("p-1", "a" * 64, 1, "csv", "key")
        won = []
        for key in random.Random(name).sample(range(ROUNDS), ROUNDS):
            catalog.uploads.set_multipart(upload.id, f"{name}-{key}")
            catalog.steps.heartbeat("shared", "all of us")
            catalog.artefacts.add("policy", f"{name}{key:02d}".ljust(64, "0"), b"{}", name="policy")
            if catalog.steps.claim(f"step-{key}", owner=owner, name="step").state == "claimed":
                won.append(key)
                catalog.steps.finish(f"step-{key}", owner, {"by": name})
    results.put({"name": name, "won": won, "outcome": outcome, "campaign": opened.id})


@pytest.fixture
def answers(catalog_url: str, pendulum_spec: RobotSpec) -> list[dict[str, Any]]:
    with Catalog.open(catalog_url) as catalog:
        catalog.robots.register("p-1", pendulum_spec)
        catalog.steps.claim("shared", owner="all of us", name="counter")
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    children = [context.Process(target=work, args=(catalog_url, n, barrier, results)) for n in range(PROCESSES)]
    for child in children:
        child.start()
    found = [results.get(timeout=120) for _ in children]
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    return found


def test_four_processes_at_once(catalog_url: str, answers: list[dict[str, Any]]) -> None:
    with Catalog.open(catalog_url) as catalog:
        assert catalog.uploads.list()[0].version == 1 + PROCESSES * ROUNDS, "updates were lost"
        assert catalog.steps.get("shared").version == 1 + PROCESSES * ROUNDS, "heartbeats were lost"

        won = [key for answer in answers for key in answer["won"]]
        assert sorted(won) == list(range(ROUNDS)), "every step has one winner"
        for answer in answers:
            for key in answer["won"]:
                step = catalog.steps.get(f"step-{key}")
                assert (step.result, step.attempts) == ({"by": answer["name"]}, 1)

        numbers = [row.number for row in catalog.artefacts.list("policy", "policy")]
        assert numbers == list(range(1, 1 + PROCESSES * ROUNDS)), "every artefact has a number of its own"

        assert sorted(answer["outcome"] for answer in answers) == ["created", *["resumed"] * (PROCESSES - 1)]
        assert len({answer["campaign"] for answer in answers}) == len(catalog.campaigns.list()) == 1

"""A catalog of many episodes on PostgreSQL, filled by the server itself, and the queries behind the operators' pages.

The rows have the spread of a fleet: 500 robots, 4 kinds, 50 policies, 3 outcomes, 2 tags each. Times are taken on a
connection that is warm, after ANALYZE.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg

from storage.catalog.catalog import Catalog
from storage.catalog.episode_pages import EpisodeFilter
from tests.conftest import pendulum_spec

ROBOTS = 500
REPEATS = 20
_SECOND = 1_000_000_000

_FILL = """
SET session_replication_role = replica;
SET maintenance_work_mem = '512MB';
SET synchronous_commit = off;
INSERT INTO uploads (robot, sha256, size, format, idempotency_key, state, detail, version, created_ns, updated_ns,
  name, session, priority)
SELECT 'p-' || i % {robots}, encode(sha256(i::text::bytea), 'hex'), 1000000, 'mcap', 'key-' || i,
  (ARRAY['accepted', 'accepted', 'accepted', 'quarantined'])[1 + i % 4], '', 1, i * 1000000::bigint,
  i * 1000000::bigint,
  'run-' || i || '.mcap', 'day-' || i / 1000, 'routine'
FROM generate_series(1, {n}) AS i;
INSERT INTO episodes (sha256, robot, spec_digest, spec_name, upload, raw_sha256, converter, part, policy, start_ns,
  end_ns, steps, duration_s, split, tags, added_ns, outcome, coverage)
SELECT encode(sha256(('e' || i)::bytea), 'hex'), 'p-' || i % {robots}, '{digest}', 'kind-' || i % 4, i,
  encode(sha256(i::text::bytea), 'hex'), 'bench/1', 0, CASE WHEN i % 3 > 0 THEN 'policy-' || i % 50 END,
  (i * 7919::bigint % {n}) * 1000000000::bigint, (i * 7919::bigint % {n}) * 1000000000::bigint + 5000000000, 500, 5.0,
  (ARRAY['train', 'train', 'train', 'test'])[1 + i % 4], '{{"purpose": "evaluation"}}', i,
  (ARRAY['success', 'failure', 'truncated'])[1 + i % 3], (i % 1000) / 1000.0
FROM generate_series(1, {n}) AS i ORDER BY 1;
INSERT INTO episode_tags (episode, key, value, start_ns)
SELECT sha256, 'purpose', (ARRAY['evaluation', 'exploration', 'random'])[1 + steps * part % 3], start_ns FROM episodes;
INSERT INTO episode_tags (episode, key, value, start_ns)
SELECT sha256, 'campaign', 'c-' || upload % 200, start_ns FROM episodes;
INSERT INTO episode_counts (robot, spec_name, outcome, episodes, duration_s)
SELECT robot, spec_name, outcome, count(*), sum(duration_s) FROM episodes GROUP BY robot, spec_name, outcome;
SET session_replication_role = DEFAULT;
"""
_INDICES = """
SELECT i.indexname, i.indexdef FROM pg_indexes i LEFT JOIN pg_constraint c ON c.conname = i.indexname
WHERE i.tablename IN ('uploads', 'episodes', 'episode_tags') AND c.oid IS NULL
"""


def fill(url: str, n: int) -> None:
    """`n` episodes and uploads in the empty catalog at `url` (postgresql+psycopg://...)."""
    spec = pendulum_spec()
    with Catalog.open(url) as catalog:
        for i in range(ROBOTS):
            catalog.robots.register(f"p-{i}", spec)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        indices = connection.execute(_INDICES).fetchall()  # built once over all rows rather than row by row
        for name, _ in indices:
            connection.execute(f'DROP INDEX "{name}"'.encode())
        for statement in _FILL.format(n=n, robots=ROBOTS, digest=spec.digest).split(";"):
            if statement.strip():
                connection.execute(statement.encode())
        for _, definition in indices:
            connection.execute(definition.encode())
        connection.execute(b"VACUUM ANALYZE")


def queries(catalog: Catalog, n: int) -> dict[str, Callable[[], Any]]:
    """What the pages of episodes, uploads, robots and one file's fate ask for."""
    pages, uploads = catalog.episode_pages, catalog.uploads
    middle = (n // 2 * _SECOND, "f" * 64)
    sha256 = pages.page(EpisodeFilter(), limit=1)[0].sha256

    def page(after: tuple[int, str] | None = None, **wanted: Any) -> Callable[[], Any]:
        return lambda: pages.page(EpisodeFilter(**wanted), after=after)

    return {
        "episodes: newest": page(),
        "episodes: page in the middle": page(middle),
        "episodes: of a robot": page(robot="p-7"),
        "episodes: of a kind": page(spec_name="kind-3"),
        "episodes: of a policy": page(policy="policy-7"),
        "episodes: of an outcome": page(outcome="failure"),
        "episodes: of a split": page(split="test"),
        "episodes: of a robot, in a span of time": page(
            robot="p-7", from_ns=n // 3 * _SECOND, to_ns=n // 2 * _SECOND
        ),
        "episodes: with a tag": page(tags={"campaign": "c-7"}),
        "episodes: with two tags": page(tags={"campaign": "c-7", "purpose": "evaluation"}),
        "episodes: little coverage": page(coverage_max=0.01),
        "episodes: of a robot, little coverage": page(robot="p-7", coverage_max=0.1),
        "episodes: nothing is so": page(robot="p-7", outcome="no such outcome"),
        "episodes: totals": lambda: pages.totals(),
        "episodes: grand total": pages.grand_total,
        "episodes: one": lambda: catalog.episodes.get(sha256),
        "uploads: newest": lambda: uploads.page(),
        "uploads: page in the middle": lambda: uploads.page(before=n // 2),
        "uploads: quarantined": lambda: uploads.page(state="quarantined"),
        "uploads: of a robot": lambda: uploads.page(robot="p-7"),
        "uploads: of a robot, quarantined": lambda: uploads.page(robot="p-7", state="quarantined"),
        "uploads: of an outing": lambda: uploads.page(session="day-7"),
        "uploads: by digest": lambda: uploads.page(sha256="0" * 64),
        "uploads: by part of a name": lambda: uploads.page(name="run-77.mcap"),
        "uploads: by a name that is nowhere": lambda: uploads.page(name="nowhere"),
        "uploads: episodes of one": lambda: catalog.episodes.find(upload_ids=[n // 2]),
        "robots": lambda: catalog.robots.list(),
    }  # fmt: skip


def timings(catalog: Catalog, n: int) -> dict[str, list[float]]:
    """Query -> milliseconds of each of `REPEATS` runs, after one that is not counted."""
    found: dict[str, list[float]] = {}
    for name, ask in queries(catalog, n).items():
        ask()
        times = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            ask()
            times.append(1e3 * (time.perf_counter() - begun))
        found[name] = times
    return found


def p95(times: list[float]) -> float:
    return float(np.percentile(times, 95))

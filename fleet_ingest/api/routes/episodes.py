"""Routes of episodes: pages by robot, time, policy, outcome, tags and coverage."""

from typing import Annotated

from fastapi import Query
from fastapi.routing import APIRouter

from fleet_ingest.api.answers import Digest, EpisodeLine, EpisodePage, EpisodeTotal, EpisodeTotals
from fleet_ingest.api.gate import Caller, Gate
from fleet_ingest.robot.protocol import SERIAL
from storage.catalog.catalog import Catalog
from storage.catalog.episode_pages import Cursor, EpisodeFilter
from storage.catalog.episodes import EpisodeRow

_PLAIN = r"^[^\x00-\x1f\x7f]{1,120}$"
_TAG = r"^[^\x00-\x1f\x7f:]{1,120}:[^\x00-\x1f\x7f]{1,200}$"
_CURSOR = r"^-?[0-9]{1,18}_[0-9a-f]{64}$"
Text = Annotated[str | None, Query(pattern=_PLAIN)]
Time = Annotated[int | None, Query(gt=-(2**62), lt=2**62, description="Nanoseconds UTC, by the robot's clock.")]
Share = Annotated[float | None, Query(ge=0, le=1)]


def episode_routes(catalog: Catalog, gate: Gate) -> APIRouter:
    router = APIRouter(prefix="/episodes", tags=["episodes"])

    @router.get("")
    def episodes(
        actor: Caller,
        robot: Annotated[str | None, Query(pattern=SERIAL)] = None,
        spec: Text = None,
        policy: Text = None,
        outcome: Text = None,
        split: Text = None,
        tag: Annotated[list[Annotated[str, Query(pattern=_TAG)]] | None, Query(max_length=8)] = None,
        from_ns: Time = None,
        to_ns: Time = None,
        coverage_min: Share = None,
        coverage_max: Share = None,
        after: Annotated[str | None, Query(pattern=_CURSOR)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> EpisodePage:
        """Episodes that meet all conditions, newest recording first. `tag` is `key:value` and may be repeated."""
        gate.role(actor, "viewer", "list episodes")
        wanted = EpisodeFilter(
            robot=robot, spec_name=spec, policy=policy, outcome=outcome, split=split, from_ns=from_ns, to_ns=to_ns,
            coverage_min=coverage_min, coverage_max=coverage_max,
            tags=dict(pair.split(":", 1) for pair in tag or []),
        )  # fmt: skip
        rows = catalog.episode_pages.page(wanted, after=_cursor(after), limit=limit)
        more = f"{rows[-1].start_ns}_{rows[-1].sha256}" if len(rows) == limit else None
        return EpisodePage(rows=tuple(_line(row) for row in rows), next=more)

    @router.get("/totals")
    def totals(actor: Caller, robot: Annotated[str | None, Query(pattern=SERIAL)] = None) -> EpisodeTotals:
        """Counts by robot, specification and outcome."""
        gate.role(actor, "viewer", "count episodes")
        rows = [EpisodeTotal(**vars(row)) for row in catalog.episode_pages.totals(robot)]
        return EpisodeTotals(
            episodes=sum(r.episodes for r in rows), duration_s=sum(r.duration_s for r in rows), rows=tuple(rows)
        )

    @router.get("/{sha256}")
    def episode(sha256: Digest, actor: Caller) -> EpisodeLine:
        gate.role(actor, "viewer", "look at an episode")
        return _line(catalog.episodes.get(sha256))

    return router


def _cursor(text: str | None) -> Cursor | None:
    if text is None:
        return None
    time, _, digest = text.partition("_")
    return int(time), digest


def _line(row: EpisodeRow) -> EpisodeLine:
    return EpisodeLine(
        sha256=row.sha256, robot=row.robot, spec_name=row.spec_name, upload=row.upload, raw_sha256=row.raw_sha256,
        policy=row.policy, outcome=row.outcome, coverage=row.coverage, start_ns=row.start_ns,
        duration_s=row.duration_s, steps=row.steps, split=row.split, tags=row.tags,
    )  # fmt: skip

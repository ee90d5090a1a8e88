"""What a robot is to run next, and that it has run it: an assignment is complete when all its logs have receipts."""

from fleet_ingest.api.errors import Again
from fleet_ingest.robot.plan import Assignment, Plan
from fleet_ingest.robot.protocol import VERDICTS, CompleteAssignment, RefuseAssignment
from storage.catalog.assignments import AssignmentRow
from storage.catalog.catalog import Catalog
from storage.contracts.bundles import PolicyManifest
from storage.objects import ObjectStore

URL_SECONDS = 3600


class Assignments:
    """Assignments of `catalog`, with policies from `store` by presigned URL."""

    def __init__(self, catalog: Catalog, store: ObjectStore) -> None:
        self._catalog = catalog
        self._store = store

    def row(self, identifier: int) -> AssignmentRow:
        """Raises UnknownName."""
        return self._catalog.assignments.get(identifier)

    def next_for(self, serial: str) -> Assignment | None:
        """The oldest unfinished assignment of `serial`. Raises UnknownName when its policy is not in the catalog."""
        row = self._catalog.assignments.next_for(serial)
        if row is None:
            return None
        manifest = url = None
        if row.policy is not None:
            manifest = PolicyManifest.from_json(self._catalog.artefacts.get(row.policy).manifest)
            url = self._store.presign_get(manifest.onnx_sha256, URL_SECONDS)
        return Assignment(
            id=row.id,
            key=row.key,
            robot=row.robot,
            plan=Plan.model_validate(row.plan),
            policy=row.policy,
            manifest=manifest,
            onnx_url=url,
            campaign=row.campaign,
            iteration=row.iteration,
        )

    def complete(self, row: AssignmentRow, body: CompleteAssignment) -> None:
        """Idempotent. Raises Again while a planned log has no receipt."""
        plan = Plan.model_validate(row.plan)
        held = {u.sha256 for u in self._catalog.uploads.list(robot=row.robot) if u.state in VERDICTS}
        missing = [digest for digest in body.logs if digest not in held]
        if missing or len(set(body.logs)) < len(plan.episodes):
            raise Again(
                "logs_missing",
                f"assignment '{row.key}' has {len(plan.episodes)} episodes; {len(set(body.logs))} logs were named, of "
                f"which {len(missing)} have no receipt: {', '.join(d[:12] for d in missing[:5])}",
                "Upload every log first.",
            )
        self._catalog.assignments.complete(row.id, body.logs)

    def refuse(self, row: AssignmentRow, body: RefuseAssignment) -> None:
        """Records why the robot will not run it; the assignment stays open for people to look at."""
        data = {"assignment": row.key, "robot": row.robot, "code": body.code, "message": body.message}
        self._catalog.events.record("assignment_refused", row.key, data)

"""The flows that Prefect schedules and shows. Prefect is not the truth: a run that it lost is found in the catalog.

`PREFECT_API_URL` must point at a real server before this module is imported (flows.engine does that); the ephemeral
server loses task runs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.campaign import Opened, open_campaign, run_campaign
from flows.campaign_config import CampaignConfig
from flows.engine import Engine, open_engine
from flows.retrain import RetrainResult, retrain_and_score
from flows.services import EVERYTHING
from flows.settings import Settings
from flows.steps import Result, Step

_current: ContextVar[Engine | None] = ContextVar("engine", default=None)
Listener = Callable[[Result], None]


class PrefectShow:
    """Each step a task run, each iteration a sub-flow, each report a markdown artifact."""

    def step(self, step: Step, run: Callable[[], Result]) -> Result:
        @task(name=step.name, task_run_name=_run_name(step), persist_result=False, cache_policy=NO_CACHE)
        def body() -> Result:
            return run()

        return body()

    def iteration(self, index: int, run: Callable[[], Result]) -> Result:
        @flow(name="iteration", flow_run_name=f"iteration-{index}", persist_result=False)
        def iteration() -> Result:
            return run()

        return iteration()

    def report(self, key: str, markdown: str) -> None:
        create_markdown_artifact(markdown, key=key)


def _run_name(step: Step) -> str:
    return step.name if step.iteration is None or step.iteration < 0 else f"{step.name}-{step.iteration}"


@flow(name="bootstrap", persist_result=False, validate_parameters=False)
def bootstrap(
    config: CampaignConfig,
    iterations: int,
    new: bool = False,
    more: int | None = None,
    listener: Listener | None = None,
) -> Result:
    """Runs or resumes the campaign of these arguments and returns its result."""
    with current_engine() as engine:
        opened: Opened = open_campaign(engine, config, iterations, new=new, more=more)
        if opened.how == "finished":
            return dict(opened.row.result or {})
        return run_campaign(engine, opened, PrefectShow(), listener or (lambda record: None))


@flow(name="retrain-and-score", persist_result=False)
def retrain(robot: str, seed: int = 0, updates: int | None = None, parent: str | None = None) -> RetrainResult:
    """Retrains the simulator on all logs of `robot`, from `parent` or from chance, and scores it on its held-out ones.
    Needs no task."""
    with current_engine() as engine:
        return retrain_and_score(engine, robot, seed=seed, updates=updates, parent=parent, show=PrefectShow())


@contextmanager
def using(engine: Engine) -> Iterator[None]:
    """Flows started in the block work with `engine` instead of opening their own."""
    token = _current.set(engine)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def current_engine() -> Iterator[Engine]:
    engine = _current.get()
    if engine is not None:
        yield engine
        return
    with open_engine(Settings(), EVERYTHING) as opened:
        yield opened

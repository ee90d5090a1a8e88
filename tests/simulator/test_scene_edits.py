"""Entities added, removed and put side by side; the posterior goes along with them."""

from collections.abc import Callable

import pytest
import torch

from simulator import latent
from simulator.editing import added, edited, removed, value_of
from simulator.prompt import Prompt
from simulator.scene import Scene, latent_rows
from simulator.simulator import Simulator
from simulator.situation import Situation, run
from simulator.structure import Shape, Structure
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.episode import Episode
from storage.contracts.errors import ContractError, InputError, UnknownName
from storage.contracts.robot import Entity, RobotSpec

LAMP = Entity(name="lamp", type="appliance", mass_kg=0.2)
LAMP_CHANNELS = (
    Channel(name="lamp.height", kind=Kind.LINEAR, unit="m", entity="lamp"),
    Channel(name="lamp.speed", kind=Kind.LINEAR, unit="m/s", entity="lamp", derivative_of="lamp.height"),
)


@pytest.fixture(scope="module")
def scene(trained: Simulator, oscillator: Callable[..., Episode]) -> Scene:
    return trained.ground(Prompt(trained.specs[0], (oscillator(50),)))


def positions(scene: Scene, start: dict[str, float], push: float = 1.0, n: int = 400) -> torch.Tensor:
    width = scene.spec.command_layout.width
    situation = Situation(0.4, start=start, commands=torch.full((20, width), push))
    with torch.no_grad():
        return run(scene.sample(n, seed=1), situation).state[:, -1]


def test_adding_and_removing_an_entity_leaves_the_specification_as_it_was(scene: Scene) -> None:
    lit = scene.add(LAMP, LAMP_CHANNELS)
    assert lit.spec.state_layout.columns == ("mass.position", "mass.velocity", "lamp.height", "lamp.speed")
    back = lit.remove("lamp")
    assert back.spec.digest == scene.spec.digest
    assert torch.equal(back.mean, scene.mean)
    assert torch.equal(back.frame.static, scene.frame.static)
    start = {"mass.position": 0.3}
    assert torch.equal(positions(back, start), positions(scene, start))


def test_what_the_prompt_taught_is_kept_and_a_new_entity_has_the_prior(scene: Scene) -> None:
    before, after = latent_rows(scene), latent_rows(scene.add(LAMP))
    assert torch.equal(after[0][:, 0], before[0][:, 0])
    assert torch.equal(after[0][:, 1], torch.zeros_like(after[0][:, 1]))
    assert torch.equal(after[1][:, 1], torch.ones_like(after[1][:, 1]))


def test_safe_commands_grow_and_shrink_with_their_channels(scene: Scene) -> None:
    spec = scene.spec.model_copy(update={"safe_command": (0.5,)})
    motor = Channel(name="lamp.motor", kind=Kind.EFFORT, role=Role.COMMAND, unit="N", entity="lamp", limits=(1.0, 2.0))
    more = added(spec, LAMP, (motor,))
    assert more.safe_command == (0.5, 1.0)
    assert removed(more, "lamp") == spec


def test_what_does_not_fit_is_refused_with_what_would(scene: Scene) -> None:
    several = [Channel(name=f"lamp.x{i}", kind=Kind.SCALAR, entity="lamp") for i in range(9)]
    with pytest.raises(InputError, match=r"needs .* other"):
        scene.add(LAMP, several)
    with pytest.raises(InputError, match="already"):
        scene.add(Entity(name="mass"))
    with pytest.raises(UnknownName, match="mass"):
        scene.remove("mas")
    with pytest.raises(InputError, match="its own"):
        scene.add(LAMP, (Channel(name="x", kind=Kind.SCALAR, entity="mass"),))
    with pytest.raises(UnknownName, match=r"Did you mean 'mass.friction'"):
        scene.edit({"mass.fricton": "x2"})
    with pytest.raises(ContractError, match=r"cannot be made.*mass_kg"):
        scene.edit({"mass.mass": "1"}).edit({"mass.mass": "-2"})
    with pytest.raises(ContractError, match="no channel has role 'state'"):
        scene.remove("mass")
    with pytest.raises(InputError, match="not a number"):
        scene.edit({"mass.mass": "1.2.3"})


def test_an_entity_that_carries_others_stays() -> None:
    channel = Channel(name="a.x", kind=Kind.SCALAR, entity="a")
    spec = RobotSpec(
        name="tree", control_rate_hz=50, channels=(channel,),
        entities=(Entity(name="a"), Entity(name="b", parent="a", features={"payload.mass": 0.5})),
    )  # fmt: skip
    with pytest.raises(InputError, match="carries b"):
        removed(spec, "a")
    with pytest.raises(UnknownName) as caught:
        removed(spec, "payload")
    assert "edit it" in caught.value.remedy


def test_a_named_feature_is_set_on_every_owner_or_on_one() -> None:
    """`delay` stands on both motors; `load` on none here, but on `b` of a robot that was trained on."""
    channel = Channel(name="a.x", kind=Kind.SCALAR, entity="a")

    def robot(**features: dict[str, float]) -> RobotSpec:
        rows = tuple(Entity(name=name, features=features.get(name, {})) for name in ("a", "b"))
        return RobotSpec(name="two", control_rate_hz=50, channels=(channel,), entities=rows)

    told = robot(a={"delay": 0.01}, b={"delay": 0.01, "load": 0.3})
    shape = Shape.of([told], history_s=0.2, delay_s=0.06)
    plain = robot(a={"delay": 0.01}, b={"delay": 0.03})
    both = edited(plain, {"delay": "x2"}, shape)
    assert [row.features["delay"] for row in both.entities] == [0.02, 0.06]
    one = edited(plain, {"b:delay": "0.05"}, shape)
    assert [row.features["delay"] for row in one.entities] == [0.01, 0.05]
    assert value_of(one, "b:delay") == 0.05
    assert edited(plain, {"load": "0.7"}, shape, [told]).entities[1].features["load"] == 0.7
    with pytest.raises(InputError) as caught:
        edited(plain, {"load": "0.7"}, shape)
    assert "b:load" in caught.value.remedy
    assert edited(plain, {"a:load": "0.7"}, shape).entities[0].features["load"] == 0.7


def test_a_heavier_body_keeps_its_shape() -> None:
    """What is said of inertia grows with mass; where nothing is said, nothing is made up."""
    channel = Channel(name="a.x", kind=Kind.SCALAR, entity="a")
    rows = (Entity(name="a", mass_kg=0.5, inertia_kgm2=(0.01, 0.02, 0.0)), Entity(name="b", inertia_kgm2=(1, 1, 1)))
    spec = RobotSpec(name="two", control_rate_hz=50, channels=(channel,), entities=rows)
    shape = Shape.of([spec], history_s=0.2, delay_s=0.06)
    heavier = edited(spec, {"a.mass": "x3", "b.mass": "2"}, shape).entities
    assert (heavier[0].mass_kg, heavier[1].mass_kg) == (1.5, 2.0)
    assert heavier[0].inertia_kgm2 == pytest.approx((0.03, 0.06, 0.0))
    assert heavier[1].inertia_kgm2 == (1, 1, 1)
    assert edited(spec, {"a.length": "0.4"}, shape).entities[0].inertia_kgm2 == (0.01, 0.02, 0.0)


def test_two_robots_side_by_side_move_as_each_does_alone(scene: Scene) -> None:
    """Standard errors of the mean of 400 worlds are below 0.003 here; the two start and hence end far apart."""
    pair = scene.compose(scene, ("left", "right"))
    assert pair.spec.command_layout.columns == ("left.mass.force", "right.mass.force")
    together = positions(pair, {"left.mass.position": 0.4, "right.mass.position": -0.4})
    left, right = (positions(scene, {"mass.position": x}) for x in (0.4, -0.4))
    error = (together.mean(0) - torch.cat([left.mean(0), right.mean(0)])).abs()
    assert float((left.mean(0) - right.mean(0)).abs()[0]) > 0.1
    assert float(error.max()) < 0.015
    spread = together.std(0) / torch.cat([left.std(0), right.std(0)])
    assert ((spread > 0.8) & (spread < 1.25)).all()


def test_parts_of_a_composed_scene_can_be_edited_and_taken_out(scene: Scene) -> None:
    pair = scene.compose(scene, ("left", "right"))
    heavy = pair.edit({"right.mass.mass": "3"})
    assert value_of(heavy.spec, "right.mass.mass") == 3
    assert torch.equal(heavy.frame.adjacency, pair.frame.adjacency)
    assert torch.equal(pair.frame.adjacency, torch.zeros(6, 2))
    lit = pair.add(LAMP)
    assert lit.parts == (1, 2)  # what is added stands with the last robot
    assert lit.frame.adjacency[:3].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    alone = pair.remove("right.mass")
    assert alone.parts == (1,)
    assert latent_rows(alone)[0].shape == latent_rows(scene)[0].shape
    assert pair.frame_on("cpu") is pair.frame


def test_only_scenes_of_one_simulator_and_one_rate_share_a_world(scene: Scene, trained: Simulator) -> None:
    slow = scene.spec.model_copy(update={"control_rate_hz": 25.0})
    with pytest.raises(InputError, match="need one rate"):
        scene.compose(trained.ground(Prompt(slow)))
    with pytest.raises(InputError, match="two names"):
        scene.compose(scene, ("a", "a"))


def test_each_entity_keeps_its_own_latent(scene: Scene) -> None:
    width = scene.model.config.scene
    lit = scene.add(LAMP)
    assert lit.mean.shape == (2, 2 * width)
    assert torch.equal(lit.mean[:, :width], scene.mean)
    assert torch.equal(lit.deviation[:, width:], torch.ones(2, width))
    assert torch.equal(lit.remove("lamp").mean, scene.mean)
    shown = scene.add(LAMP, LAMP_CHANNELS)
    assert torch.equal(shown.remove("mass").mean, torch.zeros(2, width))
    pair = scene.compose(lit, ("a", "b"))
    assert torch.equal(pair.mean, torch.cat([scene.mean, lit.mean], dim=1))
    assert pair.parts == (1, 2)
    assert pair.remove("b.lamp").parts == (1, 1)


def test_hypotheses_about_an_entity_do_not_depend_on_how_many_there_are(scene: Scene) -> None:
    alone, pair = scene.sample(6, 3).z, scene.compose(scene).sample(6, 3).z
    assert torch.equal(pair[:, : alone.shape[1]], alone)
    assert not torch.equal(pair[:, alone.shape[1] :], alone)


def test_the_mean_over_others_stays_within_a_robot() -> None:
    channel = Channel(name="a.x", kind=Kind.SCALAR, entity="a")
    rows = tuple(Entity(name=name) for name in "abc")
    spec = RobotSpec(name="three", control_rate_hz=50, channels=(channel,), entities=rows)
    structure = Structure(spec, Shape.of([spec], history_s=0.2, delay_s=0.06))
    assert latent.separated(structure, (2, 1))[:3].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert latent.separated(structure, (3,)).tolist() == structure.adjacency.tolist()

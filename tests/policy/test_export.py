"""The ONNX graph says what the network says, with equal bytes for equal weights, and runs in the robot's own runner."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from policy.export import export_onnx, largest_difference
from policy.features import scales_of
from policy.network import PolicyNetwork
from policy.rollout import advance, begin
from policy.runtime.runner import PolicyRunner
from policy.weights import pack_network, unpack_network
from policy.windows import first_window
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.errors import ContractError, DataError
from storage.contracts.robot import RobotSpec
from tests.policy.analytic import POINT, REACH_ONE, SWINGUP, CartPoleScene, CartPoleWorlds

CARTPOLE = CartPoleWorlds.spec
ONLY_ANGLES = RobotSpec(
    name="only-angles",
    control_rate_hz=10.0,
    channels=(
        Channel(name="a", kind=Kind.ANGLE, unit="rad", size=3),
        Channel(name="u", kind=Kind.SCALAR, role=Role.COMMAND, size=2),
    ),
)


def network_for(spec: RobotSpec, seed: int = 0) -> PolicyNetwork:
    """A network with weights large enough that every part of the graph matters."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(50, spec.state_layout.width))
    network = PolicyNetwork(scales_of(spec, states, np.zeros((0, spec.command_layout.width))), 4, 32, 2)
    with torch.no_grad():
        network.body[-1].weight.mul_(100.0)  # type: ignore[operator, union-attr]
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return network


@pytest.mark.parametrize("spec", [CARTPOLE, POINT, ONLY_ANGLES], ids=lambda spec: spec.name)
def test_onnx_computes_what_the_network_computes(spec: RobotSpec) -> None:
    network = network_for(spec)
    manifest, data = export_onnx(network, spec, REACH_ONE)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    assert largest_difference(network, data, spec) <= 1e-5
    assert (manifest.history_steps, manifest.control_rate_hz) == (4, spec.control_rate_hz)


def test_equal_weights_give_equal_bytes_in_another_process() -> None:
    network = network_for(CARTPOLE)
    manifest, data = export_onnx(network, CARTPOLE, SWINGUP)
    program = (
        "import sys; from policy.export import export_onnx; from policy.weights import unpack_network\n"
        "from fleet_ingest.standins.tasks import CARTPOLE, CARTPOLE_SWINGUP\n"
        "network = unpack_network(sys.stdin.buffer.read())\n"
        "print(export_onnx(network, CARTPOLE, CARTPOLE_SWINGUP)[0].onnx_sha256)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], input=pack_network(network), capture_output=True, check=True
    )
    assert answer.stdout.decode().strip() == manifest.onnx_sha256
    assert export_onnx(network_for(CARTPOLE, seed=1), CARTPOLE, SWINGUP)[1] != data


def test_the_runner_of_robots_acts_as_the_trainer_does() -> None:
    network = network_for(CARTPOLE)
    runner = PolicyRunner(*export_onnx(network, CARTPOLE, SWINGUP))
    worlds = CartPoleScene().sample(1, seed=3)
    state = torch.tensor([[0.1, 0.0, 3.0, 0.0]])
    run = begin(worlds, first_window(CARTPOLE, state, 4), seed=0)
    runner.reset(state[0].double().numpy())
    seen, last = state[0].double().numpy(), None
    for _ in range(10):
        with torch.no_grad():
            command = network(*run.window)
            advance(run, SWINGUP, command)
        asked = runner.act(seen, last)
        assert asked[0] == pytest.approx(command.item(), abs=1e-4)
        seen, last = run.window.state[0, -1].double().numpy(), command[0].double().numpy()


def test_a_network_of_another_robot_is_refused() -> None:
    with pytest.raises(ContractError, match=r"reads \(1, 1\).*'cartpole' has \(4, 1\)"):
        export_onnx(network_for(POINT), CARTPOLE, SWINGUP)


def test_packed_weights_come_back() -> None:
    network = network_for(ONLY_ANGLES)
    data = pack_network(network)
    assert pack_network(unpack_network(data)) == data
    with pytest.raises(DataError):
        unpack_network(data[:-9])

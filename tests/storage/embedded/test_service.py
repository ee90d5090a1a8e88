import pytest

from storage.contracts.errors import ContractError, UnknownName
from storage.embedded.service import ServiceSpec, Values, check_order

PORTS = {"web": {"http": 21_000, "admin": 21_005}, "db": {"sql": 22_000}}


def fill(text: str) -> str:
    return Values("/home/x", "/tmp/r", "web", PORTS).fill(text)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{port}", "21000"),
        ("{port:admin}", "21005"),
        ("{port:admin+10000}", "31005"),
        ("{port+1}", "21001"),
        ("{port:db/sql}", "22000"),
        ("-dir={home}/s3 {runtime}/x", "-dir=/home/x/s3 /tmp/r/x"),
        ('{"json": {"port": 1}} {other}', '{"json": {"port": 1}} {other}'),
    ],
)
def test_placeholders_are_filled_and_other_braces_kept(text: str, filled: str) -> None:
    assert fill(text) == filled


def test_a_placeholder_of_an_unknown_port_names_those_there_are() -> None:
    with pytest.raises(UnknownName, match=r"port:htp.*known: admin, http"):
        fill("{port:htp}")


def test_every_part_of_a_specification_is_filled() -> None:
    spec = ServiceSpec.model_validate(
        {
            "name": "web",
            "argv": ["run", "{port}"],
            "ports": ["http", "admin"],
            "env": {"URL": "http://127.0.0.1:{port:db/sql}"},
            "cwd": "{runtime}",
            "health": {"file": "{home}/ready"},
            "scratch": ["{runtime}/tmp"],
        }
    )
    filled = spec.filled(Values("/h", "/r", "web", PORTS))
    assert filled.argv == ("run", "21000")
    assert filled.env == {"URL": "http://127.0.0.1:22000"}
    assert (filled.cwd, filled.health[0].file, filled.scratch) == ("/r", "/h/ready", ("/r/tmp",))


def test_health_names_a_port_of_the_service() -> None:
    with pytest.raises(ContractError, match=r"Did you mean 'http'"):
        ServiceSpec.from_json('{"name": "web", "argv": ["x"], "ports": ["http"], "health": {"tcp": "htp"}}')


def test_services_that_wait_for_each_other_are_refused() -> None:
    a = ServiceSpec(name="a", argv=("x",), after=("b",))
    b = ServiceSpec(name="b", argv=("x",), after=("a",))
    with pytest.raises(ContractError, match="a, b"):
        check_order([a, b])
    with pytest.raises(UnknownName, match="'b'"):
        check_order([a])
    check_order([a], known=["b"])

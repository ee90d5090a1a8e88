import os

from storage.embedded.driver import driver_environment, enter_driver_environment
from storage.embedded.environment import clean_environment
from storage.embedded.home import Home

POISON = {
    "AWS_ACCESS_KEY_ID": "poison",
    "AWS_ENDPOINT_URL": "http://poison",
    "AWS_PROFILE": "poison",
    "BOTO_CONFIG": "/poison",
    "PREFECT_API_URL": "http://poison",
    "PREFECT_HOME": "/poison",
    "RAY_ADDRESS": "poison:1",
    "RAY_AUTH_MODE": "poison",
    "HTTP_PROXY": "http://poison",
    "https_proxy": "http://poison",
    "ALL_PROXY": "socks5://poison",
    "no_proxy": "",
    "WEED_S3_PORT": "1",
    "S3_BUCKET": "poison",
    "PYTHONHOME": "/poison",
    "PGHOST": "poison",
    "SIM2REAL_SERVICE": "poison/web;",
    "OMP_NUM_THREADS": "64",
}


def test_nothing_of_a_poisoned_shell_is_left() -> None:
    cleaned = clean_environment(base={**POISON, "PATH": "/bin", "LANG": "C"})
    assert "poison" not in " ".join(cleaned.values())
    assert (cleaned["PATH"], cleaned["LANG"], cleaned["OMP_NUM_THREADS"]) == ("/bin", "C", "1")
    assert "127.0.0.1" in cleaned["no_proxy"]


def test_what_is_given_wins() -> None:
    assert clean_environment({"AWS_REGION": "mine", "OMP_NUM_THREADS": "4"}, base=POISON)["AWS_REGION"] == "mine"
    assert clean_environment({"OMP_NUM_THREADS": "4"}, base=POISON)["OMP_NUM_THREADS"] == "4"


def test_a_driver_sees_the_embedded_services_only(home: Home) -> None:
    before = dict(os.environ)
    try:
        os.environ.update(POISON)
        enter_driver_environment(home, {"prefect": {"http": 4321}, "ray": {"gcs": 1234}, "s3": {"s3": 1}})
        assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
        assert os.environ["RAY_ADDRESS"] == "127.0.0.1:1234"
        assert "AWS_PROFILE" not in os.environ
        assert "HTTP_PROXY" not in os.environ
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_no_service_no_variable(home: Home) -> None:
    assert driver_environment(home, {"s3": {"s3": 1}}) == {}

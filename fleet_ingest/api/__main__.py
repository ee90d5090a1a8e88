"""`python -m fleet_ingest.api --port P`: serves the ingest API as SIM2REAL_API_CONFIG says."""

import argparse
import sys

from storage.contracts.errors import Sim2RealError


def main(argv: list[str] | None = None) -> int:
    words = argparse.ArgumentParser(prog="fleet_ingest.api")
    words.add_argument("--host", default="127.0.0.1", help="another address opens it to the network; see `hosts`")
    words.add_argument("--port", type=int, required=True)
    arguments = words.parse_args(argv)

    import uvicorn

    from fleet_ingest.api.app import create_app
    from fleet_ingest.api.settings import settings_from_environment

    try:
        app = create_app(settings_from_environment(), port=arguments.port)
    except Sim2RealError as error:
        sys.stderr.write(f"fleet_ingest.api: {error}\n{error.remedy}\n")
        return error.exit_code
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning", timeout_graceful_shutdown=5)
    return 0


if __name__ == "__main__":
    sys.exit(main())

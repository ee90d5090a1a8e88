"""`python -m fleet_ingest.robot` is `sim2real-robot`."""

import sys

from fleet_ingest.robot.cli import main

sys.exit(main())

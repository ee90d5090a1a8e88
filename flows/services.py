"""The embedded servers of an installation: S3, Prefect, Ray, the ingest API and stand-in robots, as service specifications.

Only this module knows which servers there are; `storage.embedded` runs whatever it is given.
"""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Literal

from fleet_ingest.api.tokens import robot_token
from fleet_ingest.standins.registry import StandIn
from flows.settings import Settings
from storage.embedded import prefect, ray, s3
from storage.embedded.home import Home
from storage.embedded.service import ServiceSpec
from storage.objects import S3Config

Need = Literal["s3", "api", "prefect", "ray"]
EVERYTHING: frozenset[Need] = frozenset({"s3", "api", "prefect", "ray"})
STORAGE: frozenset[Need] = frozenset({"s3"})
Endpoints = dict[str, dict[str, int]]

"""Where the reports of bulk registration lie: in a bucket of the service's own account, as at AWS.

Rules: no listing of the sandbox's account shows it. A report is read by a presigned URL, nothing else is allowed.
"""

import json

from simulator.cloud.config import ACCOUNT_ID, CloudConfig
from simulator.cloud.emulator import Emulator
from simulator.cloud.jobs.urls import presigned

_OWNER_ID = "999999999999"
_BUCKET = "fleetsim-thing-registration-reports"
_EXPIRES_S = 3600


class Reports:
    """Keeps them."""

    def __init__(self, emulator: Emulator, config: CloudConfig) -> None:
        from ministack.core.responses import request_scope
        from ministack.services import s3

        self._iot = emulator.iot
        self._config = config
        self._scope = request_scope
        self._s3 = s3
        self._ready = False

    def put(self, name: str, lines: list[str]) -> None:
        """Keep a report under a name."""
        with self._scope(_OWNER_ID, self._config.region):
            if not self._ready:
                self._make_bucket()
            self._s3._put_object(_BUCKET, name, "".join(lines).encode(), {"content-type": "application/json"})

    def _make_bucket(self) -> None:
        self._s3._create_bucket(_BUCKET, b"")
        read = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"},
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{_BUCKET}/*",
        }
        self._s3._bucket_policies[_BUCKET] = json.dumps({"Version": "2012-10-17", "Statement": [read]})
        self._ready = True

    def url(self, name: str) -> str:
        """How it is read."""
        config = self._config
        host = f"localhost:{self._iot._GATEWAY_PORT}"
        keys = {"SecretAccessKey": config.secret_access_key, "SessionToken": None}
        return presigned("GET", host, _BUCKET, name, None, config.access_key_id, keys, config.region, _EXPIRES_S)

"""A model behind an endpoint: HTTP, or SageMaker through boto3.

    POST {"features": ["voltage", …], "rows": [[219.0, …], …]}          → {"scores": [0.02, …]}
    POST {"features": [...], "windows": [[[219.0, …] × 30], …]}         of a data set of windows
    SageMaker, text/csv: a line a row, without a head (a window: 30 × 31 numbers in one line), → a number a line
    SageMaker, application/json: as over HTTP, → {"scores": […]} or {"predictions": [{"score": …}, …]}

Rules: what a sensor did not say is null, or empty. A batch is asked again when nobody answers and when the answer is
429 or 5xx; RETRIES times at most, with a pause that doubles. A score is a number from 0 to 1, and there is one for each
row. Redirects are not followed, and an address that is not of this machine needs `remote`.
"""

import ipaddress
import time
from collections.abc import Callable
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import requests

from simulator.dataset.columns import FEATURE_NAMES
from simulator.dataset.reading import Table
from simulator.errors import BackendUnavailable, UsageError
from simulator.seeds import Floats

BATCH_MAX = 10_000
CELLS_MAX = 400_000  # numbers in one request: some 4 MB, and SageMaker takes 6
RETRIES = 3
PAUSE_S = 0.5
ANSWER_BYTES_MAX = 4_000_000
_AGAIN = frozenset({429, 500, 502, 503, 504})

Send = Callable[[Any], list[float]]  # some rows' features → their scores


class Endpoint:
    """Asked in batches."""

    def __init__(self, send: Send, batch: int) -> None:
        if not 1 <= batch <= BATCH_MAX:
            raise UsageError(f"--batch must lie between 1 and {BATCH_MAX}, is {batch}")
        self._send, self._batch = send, batch
        self.asked = 0

    def __call__(self, table: Table) -> Floats:
        rows = table.features
        cells = int(np.prod(rows.shape[1:]))
        size = max(1, min(self._batch, CELLS_MAX // cells))
        found: list[float] = []
        for first in range(0, len(rows), size):
            some = rows[first : first + size]
            scores = self._send(some)
            self.asked += 1
            if len(scores) != len(some):
                raise BackendUnavailable(f"the endpoint gave {len(scores)} scores for {len(some)} rows")
            found += scores
        return np.array(found, np.float64)


def checked(url: str, remote: bool) -> str:
    """The address, if one may be asked; UsageError."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"'{url}' is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"'{url}' is no address such as http://127.0.0.1:8080/predict")
    if parts.username or parts.password:
        raise UsageError("an address with a password in it would stand in reports; leave it out")
    if not remote and not is_here(host):
        raise UsageError(f"'{host}' is another machine, and would be sent the records; add --yes to do it")
    return url


def is_here(host: str) -> bool:
    """Is it this machine?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def over_http(url: str, timeout_s: float, pause: Callable[[float], None] = time.sleep) -> Send:
    """Asks an address that was `checked`."""
    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc

    def once(body: bytes) -> list[float]:
        with session.post(
            url,
            body,
            headers={"content-type": "application/json"},
            timeout=timeout_s,
            allow_redirects=False,
            stream=True,
        ) as answer:
            if answer.status_code in _AGAIN:
                raise _Again(f"HTTP {answer.status_code}")
            if answer.status_code != 200:
                raise BackendUnavailable(f"{url} answers HTTP {answer.status_code}, not 200")
            data = b""
            for chunk in answer.iter_content(65_536):
                data += chunk
                if len(data) > ANSWER_BYTES_MAX:
                    raise BackendUnavailable(f"{url} answers with more than {ANSWER_BYTES_MAX} bytes")
            return scores_in(data, "application/json", url)

    def send(rows: Any) -> list[float]:
        body = as_json(rows)
        why = ""
        for attempt in range(RETRIES + 1):
            if attempt:
                pause(PAUSE_S * 2 ** (attempt - 1))
            try:
                return once(body)
            except (_Again, requests.ConnectionError, requests.Timeout) as error:
                why = str(error) if isinstance(error, _Again) else type(error).__name__
            except requests.RequestException as error:
                raise BackendUnavailable(f"{url} cannot be asked: {error}") from None
        raise BackendUnavailable(f"{url} does not answer after {RETRIES + 1} tries: {why}")

    return send


class _Again(Exception):
    """Worth another try."""


def sagemaker(
    name: str, region: str | None, profile: str | None, timeout_s: float, form: str, endpoint_url: str | None = None
) -> Send:  # fmt: skip
    """Asks a SageMaker endpoint by its name, with the credentials that boto3 finds."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    forms = {"csv": "text/csv", "json": "application/json"}
    if form not in forms:
        raise UsageError(f"--as knows csv and json, not '{form}'")
    retries: Any = {"total_max_attempts": RETRIES + 1, "mode": "standard"}
    config = Config(connect_timeout=timeout_s, read_timeout=timeout_s, retries=retries)
    try:
        session = boto3.Session(profile_name=profile, region_name=region)
        client: Any = session.client("sagemaker-runtime", endpoint_url=endpoint_url, config=config)
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"SageMaker cannot be asked: {error}") from None

    def send(rows: Any) -> list[float]:
        body = as_csv(rows) if form == "csv" else as_json(rows)
        try:
            answer = client.invoke_endpoint(EndpointName=name, ContentType=forms[form], Accept=forms[form], Body=body)
            data = answer["Body"].read(ANSWER_BYTES_MAX + 1)
        except (BotoCoreError, ClientError) as error:
            raise BackendUnavailable(f"SageMaker endpoint '{name}': {error}") from None
        if len(data) > ANSWER_BYTES_MAX:
            raise BackendUnavailable(f"SageMaker endpoint '{name}' answers with more than {ANSWER_BYTES_MAX} bytes")
        return scores_in(data, str(answer.get("ContentType", forms[form])), f"SageMaker endpoint '{name}'")

    return send


def as_json(rows: Any) -> bytes:
    """A request, with null for what was not said."""
    what = "rows" if rows.ndim == 2 else "windows"
    document = {"features": FEATURE_NAMES, what: np.ascontiguousarray(rows)}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def as_csv(rows: Any) -> bytes:
    """A line a row."""
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1))
    text = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2]
    return text.replace(b"],[", b"\n").replace(b"null", b"") + b"\n"


def scores_in(data: bytes, kind: str, whose: str) -> list[float]:
    """The scores of an answer; BackendUnavailable when there are none."""
    try:
        if kind.split(";")[0].strip() == "application/json":
            found = orjson.loads(data)
            if isinstance(found, dict) and "predictions" in found:
                found = [one["score"] if isinstance(one, dict) else one for one in found["predictions"]]
            elif isinstance(found, dict):
                found = found["scores"]
            scores = [one + 0.0 for one in found]  # a text or a list has no place here
        else:
            scores = [float(part) for part in data.decode().replace(",", "\n").split()]
    except (ValueError, KeyError, TypeError) as error:
        raise BackendUnavailable(f"{whose} answers with no scores: {error}") from None
    if wrong := next((one for one in scores if not (isfinite(one) and 0 <= one <= 1)), None):
        raise BackendUnavailable(f"{whose}: a score is a number from 0 to 1, is {wrong:g}")
    return scores

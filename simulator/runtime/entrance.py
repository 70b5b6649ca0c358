"""The link by which a browser comes to the sandbox's pages: it lets in once, and the browser stays in."""

import requests

from simulator.targets import Addresses

TIMEOUT_S = 5.0


def entrance(addresses: Addresses) -> str | None:
    """The link; None where there are no pages, or they do not answer, which is no reason not to run."""
    if addresses.kind != "sandbox" or not addresses.api_url:
        return None
    if not addresses.api_token:
        return f"{addresses.api_url}/"
    try:
        answer = requests.post(
            f"{addresses.api_url}/api/codes", headers=addresses.api_headers, timeout=TIMEOUT_S, allow_redirects=False
        )
        return f"{addresses.api_url}{answer.json()['path']}" if answer.status_code == 201 else None
    except (requests.RequestException, ValueError, KeyError):
        return None

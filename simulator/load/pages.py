"""Our pages in Locust's UI: the fleet live, the table by kind, metrics for Prometheus.

    /fleet  /fleet/table                          pages (static/), linked from Locust's own
    /fleet/picture.json  /fleet/rows.json  .csv   what they show
    /fleet/pages/                                 what the platform knows (platform_pages.py)
    /metrics                                      Prometheus' text

Rules: all of it is behind Locust's `--web-login`, when that is on, but the style and the scripts. Nothing is fetched
from elsewhere, and the pages may not: their Content-Security-Policy forbids it. What comes from outside goes to the
browser as JSON and is shown as text.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, request, send_file
from locust.env import Environment
from locust.runners import MasterRunner
from locust.web import WebUI

import simulator
from simulator.load import metrics
from simulator.load.platform_pages import PlatformPages

FOLDER = Path(__file__).parent / "static"
STYLE = Path(simulator.__file__).parent / "pages" / "style.css"  # of all our pages
STATIC = {path.name: path for path in (*FOLDER.iterdir(), STYLE) if path.suffix in (".css", ".js")}
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
TAB = "fleet"
_COLUMNS = (
    ("method", "Type"), ("name", "Name"), ("count", "# Messages"), ("per_s", "Per second"), ("p50_ms", "p50 (ms)"),
    ("p95_ms", "p95 (ms)"), ("p99_ms", "p99 (ms)"), ("max_ms", "Max (ms)"), ("failed", "# Fails"),
    ("why", "Why they failed"),
)  # fmt: skip
_LINKS = (
    '<nav aria-label="fleetsim" style="font:14px system-ui,sans-serif;display:flex;gap:16px;padding:6px 24px;'
    'background:#14202e"><a style="color:#9fd0ff" href="./fleet">Fleet</a>'
    '<a style="color:#9fd0ff" href="./fleet/table">Table</a>'
    '<a style="color:#9fd0ff" href="./fleet/pages/">Platform</a>'
    '<a style="color:#9fd0ff" href="./metrics">Metrics</a></nav>'
)


def add_to(environment: Environment) -> None:
    """Mount them, where there is a UI. Locust's event `init` comes before it is served."""
    ui = environment.web_ui
    if ui is None:
        return
    pages = Pages(environment)
    ui.app.register_blueprint(pages.blueprint(ui))
    ui.template_args |= {
        "extended_tabs": [{"title": "Fleet", "key": TAB}],
        "extended_tables": [
            {"key": TAB, "structure": [{"key": key, "title": title} for key, title in _COLUMNS]}
        ],
        "extended_csv_files": [{"href": "./fleet/rows.csv", "title": "Download fleet CSV"}],
    }  # fmt: skip


class Pages:
    """What the pages show is the lead's."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._metrics = metrics.Metrics(self._picture)

    def blueprint(self, ui: WebUI) -> Blueprint:
        """All addresses."""
        base = getattr(self._environment.parsed_options, "web_base_path", "") or ""
        found = Blueprint("fleetsim", __name__, url_prefix=base or None)
        views: dict[str, Callable[[], Response]] = {
            "/fleet": lambda: _page("fleet.html"), "/fleet/table": lambda: _page("table.html"),
            "/fleet/picture.json": lambda: _json(self.now()), "/fleet/rows.json": lambda: _json(self.rows()),
            "/fleet/rows.csv": self._csv, "/metrics": lambda: Response(self._metrics.text(), content_type=PROMETHEUS),
        }  # fmt: skip
        for address, view in views.items():
            found.add_url_rule(address, address.strip("/").replace("/", "_").replace(".", "_"),
                               ui.auth_required_if_enabled(view))  # fmt: skip
        found.add_url_rule("/fleet/static/<name>", "static_file", _static)
        lead = self._environment.fleet_lead
        PlatformPages(lambda: str(lead.facts.get("brief", ""))).add_to(found, ui.auth_required_if_enabled)
        ui.app.after_request(lambda answer: self._extend(answer, base))
        return found

    def now(self) -> dict[str, Any]:
        """All there is to see."""
        lead, runner = self._environment.fleet_lead, self._environment.runner
        facts = lead.facts
        rows = [{key: of for key, of in row.items() if key != "buckets"} for row in lead.picture.get("rows", ())]
        return {
            **lead.picture, "rows": rows, "state": runner.state, "users": runner.user_count, "verdict": lead.verdict,
            "workers": runner.worker_count if isinstance(runner, MasterRunner) else 0,
            "scenario": facts.get("scenario", ""), "seed": facts.get("seed", ""), "target": facts.get("target", ""),
        }  # fmt: skip

    def rows(self) -> dict[str, Any]:
        """The table."""
        now = self.now()
        return {"rows": now["rows"], "state": now["state"]}

    def _picture(self) -> dict[str, Any]:
        picture: dict[str, Any] = self._environment.fleet_lead.picture
        return picture

    def _csv(self) -> Response:
        answer = Response(metrics.table(self._picture().get("rows", ())), content_type="text/csv; charset=utf-8")
        answer.headers["Content-Disposition"] = "attachment; filename=fleet.csv"
        return answer

    def _extend(self, answer: Response, base: str) -> Response:
        """Locust's own answers: our tab's rows in its statistics, our links on its page."""
        if answer.status_code != 200:
            return answer
        if request.path == f"{base}/stats/requests" and answer.is_json:
            rows = [{**row, "why": "; ".join(f"{times} × {reason}" for reason, times in row["reasons"].items())}
                    for row in self.rows()["rows"]]  # fmt: skip
            stats = orjson.loads(answer.get_data()) | {"extended_stats": [{"key": TAB, "data": rows}]}
            answer.set_data(orjson.dumps(stats))
        elif request.path == f"{base}/" and answer.mimetype == "text/html":
            root = '<div id="root">'
            answer.set_data(answer.get_data(as_text=True).replace(root, _LINKS + root, 1))
        return answer


def _page(name: str) -> Response:
    answer = Response((FOLDER / name).read_text("utf-8"), content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = POLICY
    return _guarded(answer)


def _static(name: str) -> Response:
    if name not in STATIC:
        return Response("no such file\n", 404, mimetype="text/plain")
    answer: Response = send_file(STATIC[name], max_age=0)
    return _guarded(answer)


def _json(said: dict[str, Any]) -> Response:
    return _guarded(Response(orjson.dumps(said), mimetype="application/json"))


def _guarded(answer: Response) -> Response:
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Cache-Control"] = "no-cache"
    return answer

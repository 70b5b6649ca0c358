"""Run by test_load_pages.py in a process of its own, since importing locust patches the whole process.

stdin   {"picture": …, "verdict": …, "login": …, "base": …, "ask": [address, …]}
stdout  [{"status", "headers", "body"}, …]: what Locust's UI, with our pages in it, answers
"""

import json
import sys
from argparse import Namespace
from types import SimpleNamespace

from simulator.load import pages  # first: it imports locust

# isort: split
from locust.env import Environment


def main() -> None:
    asked = json.load(sys.stdin)
    environment = Environment(parsed_options=Namespace(
        web_base_path=asked["base"], num_users=1, spawn_rate=1, stats_history_enabled=False, run_time=None,
    ))  # fmt: skip
    environment.create_local_runner()
    environment.fleet_lead = SimpleNamespace(
        picture=asked["picture"], verdict=asked["verdict"],
        facts={"scenario": "small", "seed": 3, "target": "sandbox"},
    )  # fmt: skip
    ui = environment.create_web_ui(
        "127.0.0.1", 0, web_base_path=asked["base"] or None, web_login=asked["login"], delayed_start=True
    )
    ui.app.config["SECRET_KEY"] = "of a test"
    if asked["login"]:
        ui.login_manager.user_loader(lambda _: None)
    pages.add_to(environment)
    client = ui.app.test_client()
    answers = [client.get(address) for address in asked["ask"]]
    json.dump([
        {"status": answer.status_code, "headers": dict(answer.headers), "body": answer.get_data(as_text=True)}
        for answer in answers
    ], sys.stdout)  # fmt: skip
    environment.runner.quit()


main()

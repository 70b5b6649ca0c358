"""Fleet operations on a terminal: what is missing is asked, and what is up is shown before it is done."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.ops import packages, provision
from simulator.ops.aws import Aws
from simulator.runtime import running
from tests.e2e.fleetsim_command import Command, until
from tests.e2e.test_e2e_terminal import Terminal, terminal

__all__ = ["terminal"]

pytestmark = pytest.mark.e2e


class Wizard:
    """A command on a terminal; each question gets its answer when it is asked."""

    def __init__(self, command: Command, screen: Terminal) -> None:
        self._command, self._screen, self._from = command, screen, len(screen.written)

    def answer(self, question: str, answer: str) -> None:
        """Waits for a question; what was shown before it is behind us."""
        self.shows(question)
        os.write(self._screen.ours, f"{answer}\n".encode())

    def shows(self, text: str) -> None:
        def seen() -> bool:
            at = self._screen.written.find(text.encode(), self._from)
            self._from = at + len(text) if at >= 0 else self._from
            return at >= 0

        until(seen, f"'{text}' in {self._screen.written[self._from :]!r}")


def test_jobs_and_groups_by_questions(fleetsim: Callable[..., Command], terminal: Terminal, tmp_path: Path) -> None:
    sandbox = fleetsim("sandbox", "--env-file", tmp_path / "env")
    until((tmp_path / "env").exists, "the sandbox")
    aws = Aws(running.find(tmp_path / "env"))
    provision.groundwork(aws)
    provision.catalogue(aws, [])
    aws.iot.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": "REGISTRY"})
    for number in (1, 2, 3):
        name = f"Vehicle-VIN-00{number}"
        aws.iot.create_thing(thingName=name, attributePayload={"attributes": {"country": "US"}})
    image = tmp_path / "image.bin"
    image.write_bytes(b"firmware" * 1000)
    packages.create(aws, "SedanVehicle")
    packages.add_version(aws, "SedanVehicle", "1.1.0", image)

    def run(*arguments: object) -> tuple[Command, Wizard]:
        begun = fleetsim(*arguments, "--sandbox", tmp_path / "env", terminal=terminal.theirs)
        return begun, Wizard(begun, terminal)

    command, wizard = run("groups", "create")
    wizard.answer("Name of the group: ", "Sedans")
    wizard.answer("Conditions one by one, or a query? (number or name) [conditions]: ", "")
    wizard.answer("Countries, as US,CA,MX (empty: any): ", "us")
    wizard.answer("Thing type (empty: any): ", "")
    wizard.answer("(empty: any): ", "")
    wizard.shows("query: attributes.country:US")
    wizard.shows("Vehicle-VIN-001")
    wizard.shows("group Sedans is created; 3 things match")
    assert command.wait() == 0

    command, wizard = run("jobs", "create")
    wizard.answer("Which package? (number or name): ", "1")
    wizard.answer("Which version of SedanVehicle? (number or name): ", "1.1.0")
    wizard.answer("For which groups? (numbers or names, or all): ", "Sedens")
    wizard.shows("no such choice: 'Sedens' (did you mean 'Sedans'?)")
    wizard.answer("For which groups? (numbers or names, or all): ", "all")
    wizard.answer("Which selection? (number or name) [SNAPSHOT]: ", "2")
    wizard.shows("targetSelection: CONTINUOUS")
    wizard.shows("is created")
    assert command.wait() == 0

    command, wizard = run("jobs", "simulate", "--success-rate", 67)
    wizard.shows("[3/3] Vehicle-VIN-003 -> ")
    wizard.shows("plan: 2 succeed, 1 fail (seed 1)")
    wizard.answer("Execute 3 job executions? [y/N] ", "y")
    wizard.shows("8000/8000 bytes")
    wizard.shows("3 executions: 2 SUCCEEDED, 1 FAILED")
    assert command.wait() == 0

    things = [word for n in (1, 2, 3) for word in ("--thing", f"Vehicle-VIN-00{n}")]
    command, wizard = run("packages", "revert", *things)
    wizard.answer("Which package? (number or name): ", "SedanVehicle")
    wizard.answer("Which version? (number or name): ", "1")
    wizard.answer("3 devices go back to SedanVehicle 1.1.0. Type REVERT to do it: ", "revert")
    wizard.shows("nothing was written")
    assert command.wait() == 2
    command, wizard = run("jobs", "cancel")
    wizard.shows("   1  ota-SedanVehicle-1-1-0-")
    wizard.answer("Which jobs? (numbers or names, or all): ", "1")
    wizard.shows("is cancelled")
    assert command.wait() == 0
    command, wizard = run("groups", "delete", "Sedans")
    wizard.answer("Type DELETE to do it: ", "DELETE")
    wizard.shows("group Sedans is deleted")
    assert command.wait() == 0
    assert not re.search(rb"Traceback", terminal.written)
    aws.close()
    sandbox.process.terminate()
    assert sandbox.wait() == 130

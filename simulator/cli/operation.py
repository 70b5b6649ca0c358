"""What every fleet operation has in common: where it works, whom it asks, what it says, and where.

    with operation(options, writes="things and certificates") as op:
        count = int(op.ask("How many things?", "50", flag="--count"))
        provision.things(op.aws, count, op.progress)
        op.result({"things": count}, [f"{count} things"])

Rules: data goes to stdout and everything else to stderr. Questions are asked on a terminal only, and never with
--yes: then a default counts, and a value without one is a UsageError that names its flag. Nothing is written in a
--dry-run, nor before somebody agreed: a call that would is an error of ours, and is not made.
"""

import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from simulator import targets
from simulator.cli.screen import Screen
from simulator.errors import BackendUnavailable, UsageError, did_you_mean
from simulator.ops.aws import Aws, code
from simulator.ops.limits import Limits
from simulator.ops.trace import Trace
from simulator.report.text import in_encoding
from simulator.runtime import running
from simulator.targets import Addresses, Target

_READS = ("Get", "List", "Describe", "Search", "Head", "Test")
_WIDTH = 100
_MANY = ", "


@dataclass(frozen=True, slots=True)
class Options:
    """The flags that all operations share."""

    target: str = "sandbox"
    yes: bool = False
    as_json: bool = False
    dry_run: bool = False
    debug: bool = False
    explain: bool = False
    sandbox_env: Path | None = None


class Operation:
    """One command at work. Made by `operation`."""

    def __init__(
        self, options: Options, target: Target, addresses: Addresses, screen: Screen, writes: str, limits: Limits | None
    ) -> None:
        self.options, self.target, self.addresses = options, target, addresses
        self._screen, self._writes = screen, writes
        self._agreed = False
        self._told = False
        trace = Trace(screen.say) if options.debug else None
        self.aws = Aws(addresses, limits=limits, trace=trace, guard=self._guard)

    # What it says

    def say(self, line: str) -> None:
        """A line for people."""
        self._screen.say(line)

    def progress(self, what: str, done: int, of: int) -> None:
        """So many of so many are done; shown with rate and remaining time. Any thread may call it."""
        self._screen.progress(what, done, of)

    def explain(self, title: str, text: str) -> None:
        """What the next step does in AWS IoT, and why; shown with --explain."""
        if self.options.explain:
            self._screen.say(f"\n{title}", bold=True)
            self._screen.say("\n".join(textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")))

    def result(self, document: Mapping[str, Any], lines: Sequence[str]) -> None:
        """What came of it, once: the document with --json, the lines otherwise."""
        assert not self._told, "a command has one result"
        self._told = True
        if self.options.as_json:
            text = json.dumps(document, indent=2, ensure_ascii=False, default=_plain)
            sys.stdout.buffer.write(f"{text}\n".encode())  # JSON is UTF-8, whatever the terminal is
            sys.stdout.buffer.flush()
        elif lines:
            encoding = sys.stdout.encoding or "ascii"
            print("\n".join(in_encoding(part, encoding) for line in lines for part in line.split("\n")))

    # What it asks

    @property
    def asks(self) -> bool:
        """Is there somebody to ask?"""
        return not self.options.yes and sys.stdin.isatty() and sys.stderr.isatty()

    def ask(
        self, question: str, default: str | None = None, *, flag: str, check: Callable[[str], object] | None = None
    ) -> str:
        """An answer, or the default. `check` raises ValueError or UsageError for a wrong one, which is asked again."""
        if not self.asks:
            if default is None:
                raise UsageError(f"{flag} is missing ({question})")
            return default
        while True:
            answer = self._answer(f"{question}{f' [{default}]' if default else ''}:") or default
            if answer is None:
                self.say(f"an answer is needed ({flag})")
                continue
            try:
                if check:
                    check(answer)
            except (ValueError, UsageError) as error:
                self.say(str(error))
            else:
                return answer

    def choose(self, question: str, choices: Sequence[str], default: str | None = None, *, flag: str) -> str:
        """One of these, by its number or its name."""
        return self._choose(question, choices, default, flag, many=False)[0]

    def choose_many(
        self, question: str, choices: Sequence[str], default: Sequence[str] | None = None, *, flag: str
    ) -> list[str]:
        """One or more of these, by numbers or names with commas between them, or `all`."""
        return self._choose(question, choices, None if default is None else _MANY.join(default), flag, many=True)

    def confirm(self, question: str) -> None:
        """Goes on after a yes (or with --yes, or in a --dry-run); UsageError otherwise."""
        if self.options.yes or self.options.dry_run:
            return
        if not self.asks:
            raise UsageError(f"{question} Nobody can be asked; add --yes to do it")
        if self._answer(f"{question} [y/N]").lower() not in ("y", "yes"):
            self._stop()

    def confirm_word(self, word: str, what: str) -> None:
        """Goes on when this word was typed, for what cannot be taken back (or as `confirm`); UsageError otherwise."""
        if self.options.yes or self.options.dry_run:
            return
        if not self.asks:
            raise UsageError(f"{what}: nobody can be asked; add --yes to do it")
        if self._answer(f"{what}. Type {word} to do it:") != word:
            self._stop()

    def agree(self, writes: str = "") -> None:
        """Says what is written and where, and asks if that is not the sandbox. Once."""
        what = writes or self._writes
        if self._agreed or self.options.dry_run:
            return
        if self.addresses.kind != "sandbox":
            self.say(f"this writes {what} to {self.where}")
            self.confirm("Go on?")
        self._agreed = True

    @property
    def where(self) -> str:
        """The account, its region and the endpoint."""
        at = self.addresses
        return f"account {self.aws.account}, region {at.region}, endpoint {at.endpoint_url or at.mqtt_host}"

    def _choose(self, question: str, choices: Sequence[str], default: str | None, flag: str, many: bool) -> list[str]:
        if not choices:
            raise UsageError(f"{question}: there is nothing to choose from ({flag})")
        if self.asks:
            for number, choice in enumerate(choices, 1):
                self.say(f"  {number:>2}  {choice}")
        hint = "numbers or names, or all" if many else "number or name"
        asked = f"{question} ({hint})" if self.asks else question
        answer = self.ask(asked, default, flag=flag, check=lambda said: _chosen(said, choices, many))
        return _chosen(answer, choices, many)

    def _answer(self, question: str) -> str:
        self._screen.ask(question)
        line = sys.stdin.readline()
        if not line:  # the end of input, Ctrl-D
            self._screen.say("")
            self._stop()
        return line.strip()

    def _stop(self) -> NoReturn:
        raise UsageError("nothing was changed" if self._agreed else "nothing was written")

    # What it guards

    def _guard(self, service: str, operation: str) -> None:
        if operation.startswith(_READS):
            return
        if self.options.dry_run or not self._agreed:
            why = "in a dry run" if self.options.dry_run else "before anybody agreed"
            raise RuntimeError(f"{service} {operation} {why}: a mistake in fleetsim, nothing was written")


@contextmanager
def operation(
    options: Options, writes: str = "", *, later: bool = False, limits: Limits | None = None
) -> Iterator[Operation]:
    """Finds the target, says where it is, and agrees on what is written there, unless that is nothing.

    With `later` the command calls `op.agree()` itself, after it has shown what it is up to and before it writes.
    """
    target = targets.target(options.target)
    if not target.has_account:
        raise UsageError(f"target '{target.target}' is a broker without AWS's APIs; this needs them")
    if target.kind != "sandbox" and options.sandbox_env:
        raise UsageError(f"--sandbox goes with --target sandbox, not with '{options.target}'")
    screen = Screen(sys.stderr)
    op = Operation(options, target, reach(target, options.sandbox_env), screen, writes, limits)
    nobody = writes and not options.dry_run and not options.yes and not op.asks
    try:
        if target.kind != "sandbox" and nobody:
            raise UsageError(
                f"this would write to target '{target.target}', and nobody can be asked; add --yes to do it"
            )
        if not op.addresses.mqtt_host:
            op.aws.account  # noqa: B018 - the first contact, with the clearest words
            host = op.aws.iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
            op.addresses = replace(op.addresses, mqtt_host=host)
        op.say(f"{target.target}: {op.where}")
        if target.kind == "sandbox" and (others := running.others(options.sandbox_env)):
            op.say(f"note: {others + 1} sandboxes are running; this is the one started last (--sandbox names another)")
        if writes and not later:
            op.agree()
        yield op
    except ClientError as error:
        said = error.response.get("Error", {}).get("Message", "")
        raise BackendUnavailable(f"the cloud refused {error.operation_name}: {code(error)}: {said}") from error
    except BotoCoreError as error:
        raise BackendUnavailable(f"the cloud does not answer: {error}") from error
    finally:
        screen.close()
        op.aws.close()


def reach(target: Target, sandbox_env: Path | None = None) -> Addresses:
    """The addresses of a target; of the sandbox, those of the running one."""
    if target.kind == "sandbox":
        return running.find(sandbox_env)
    return Addresses(
        target.kind, target.target, target.region, target.mqtt_host or "", target.broker_port, target.endpoint_url,
        target.ca_file, aws_profile=target.aws_profile, api_url=target.api_url,
        mqtt_tls=target.mqtt_tls, mqtt_transport=target.mqtt_transport,
    )  # fmt: skip


def _chosen(answer: str, choices: Sequence[str], many: bool) -> list[str]:
    """What an answer means; UsageError when it means nothing."""
    words = [word.strip() for word in answer.split(",") if word.strip()] if many else [answer]
    if many and [word.lower() for word in words] == ["all"] and "all" not in choices:
        return list(choices)
    found = list(dict.fromkeys(_one(word, choices) for word in words))
    if not found:
        raise UsageError("choose at least one")
    return found


def _one(word: str, choices: Sequence[str]) -> str:
    if word in choices:
        return word
    if word.isdecimal() and 1 <= int(word) <= len(choices):
        return choices[int(word) - 1]
    raise UsageError(f"no such choice: '{word}'{did_you_mean(word, list(choices))}")


def _plain(value: Any) -> Any:
    """What JSON has no kind of, and boto3 gives: moments and bytes."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} in a result")

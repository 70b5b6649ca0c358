"""Flags that all fleet operations share. Declared once, so that they mean and say the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

TargetOpt = Annotated[str, typer.Option(help="sandbox (the one that is running), aws, or the path of a target file.")]
SandboxOpt = Annotated[
    Path | None, typer.Option("--sandbox", help="Env file of the sandbox to use; absent: the one started last.")
]
YesOpt = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of lines.")]
DryRunOpt = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]
DebugOpt = Annotated[bool, typer.Option("--debug", help="Show every API call and its response, one at a time.")]
ExplainOpt = Annotated[bool, typer.Option("--explain", help="Say what each step does in AWS IoT, and why.")]

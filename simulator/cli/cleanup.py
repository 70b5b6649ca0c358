"""`fleetsim cleanup all|things|groups`: remove what fleetsim made in an account, and nothing else."""

from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli.shared import writes

if TYPE_CHECKING:
    from simulator.cli.operation import Options
    from simulator.ops.inventory import Inventory

WORD = "DELETE"
SHOWN_MAX = 10  # names of a kind


@writes
def cleanup(
    what: Annotated[str, typer.Argument(help="all, things (with certificates and shadows), or groups.")],
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the five minutes before thing types can be deleted.")
    ] = True,
    *,
    options: "Options",
) -> None:
    """Remove what fleetsim made, found by its mark `fleetsim=fleet`; 1 when something could not be removed."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import table
    from simulator.errors import CHECKS_FAILED, UsageError, did_you_mean
    from simulator.ops import cleanup as ops
    from simulator.ops import explain, inventory

    if (scope := inventory.SCOPES.get(what)) is None:
        raise UsageError(f"nothing to clean up is called '{what}'{did_you_mean(what, list(inventory.SCOPES))}")
    with operation(options, "deletions", later=True) as op:
        before = inventory.read(op.aws, scope)
        listing = {kind: count for kind, count in before.counts().items() if count}
        if before.empty() or options.dry_run:
            lines = [*table(("kind", "ours"), list(listing.items())), *_named(before)]
            op.result(
                {"dryRun": options.dry_run, "before": before.counts(), "names": before.names()},
                [*lines, "nothing was deleted" if listing else "there is nothing of ours"],
            )
            return
        for line in (*table(("kind", "ours"), list(listing.items())), *_named(before)):
            op.say(line)
        op.agree()
        op.confirm_word(WORD, f"all of this ({sum(listing.values())} in all) is deleted for good")
        left = ops.remove(
            op.aws, scope, op.progress, wait=wait, found=before,
            step=lambda name: op.explain(*explain.step("cleanup", name)),
        )  # fmt: skip
        after = inventory.read(op.aws, scope)
        rows = [(kind, count, after.counts()[kind]) for kind, count in listing.items()]
        op.result(
            {"before": before.counts(), "after": after.counts(), "left": left},
            [*table(("kind", "before", "after"), rows), *left, "" if left else "nothing of ours is left"],
        )
        if not after.empty() and (
            wait or any(count for kind, count in after.counts().items() if kind != "thing types")
        ):
            raise typer.Exit(CHECKS_FAILED)


def _named(found: "Inventory") -> list[str]:
    """The first names of each kind."""
    lines = []
    for kind, names in found.names().items():
        if kind == "certificates":
            continue  # ids say nothing to anybody
        more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
        lines.append(f"{kind}: {', '.join(names[:SHOWN_MAX])}{more}")
    return lines

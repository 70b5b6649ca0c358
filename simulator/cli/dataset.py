"""`fleetsim dataset`: labelled records of fire sensors, into files."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from simulator.cli.screen import Screen
from simulator.dataset import making, mix
from simulator.dataset.making import Options
from simulator.errors import UsageError
from simulator.words import number

BYTES_A_ROW = {"csv": 155, "jsonl": 745, "parquet": 34, "npz": 125}  # about


def dataset(
    out: Path, options: Options, mix_file: Path | None, fires: float | None, harmless: float | None, force: bool,
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make it, or say what would be made; the card on stdout with --json."""
    happenings = (mix.read(mix_file) if mix_file else mix.usual()).scaled(fires, harmless)
    name = mix_file.name if mix_file else ""
    options = replace(options, mix=happenings, fires=fires, harmless=harmless, mix_file=name)
    options.check()
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out wants a folder, '{out}' is a file")
    making.refuse_to_overwrite(out, options, force)
    if dry_run:
        _forecast(out, options, as_json)
        return
    screen = Screen(sys.stderr)
    try:
        making.write(out, options, screen.progress)
    finally:
        screen.close()
    card = json.loads((out / "card.json").read_bytes())
    if as_json:
        print(json.dumps(card, indent=2, ensure_ascii=True))
        return
    for name, part in card["parts"].items():
        share = 100 * part["positive_share"]
        rows = f"{number(part['rows'])} records of {number(part['devices'])} sensors"
        print(f"{name}: {rows}, {number(part['positive'])} positive ({share:.3f} %)")
    fires_made = sum(event["count"] for event in card["events"] if event["fire"])
    others = sum(event["count"] for event in card["events"] if not event["fire"])
    print(f"{number(fires_made)} fires, {number(others)} other happenings")
    for name in options.files():
        print(out / name)


def shares(text: str) -> tuple[float, ...]:
    """`0.8,0.2` as numbers."""
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"--split wants shares such as 0.7,0.15,0.15, got '{text}'") from None


def _forecast(out: Path, options: Options, as_json: bool) -> None:
    rows = options.devices * options.moments
    size = sum(BYTES_A_ROW[form] * rows for form in options.forms)
    size_mb = size // 1_000_000 + 1
    if as_json:
        files = [str(out / name) for name in options.files()]
        print(json.dumps({"dry_run": True, "rows": rows, "about_mb": size_mb, "files": files}, indent=2))
        return
    print(f"would write {number(rows)} records, some {number(size_mb)} MB{' before gzip' if options.gzip else ''}:")
    for name in options.files():
        print(f"  {out / name}")

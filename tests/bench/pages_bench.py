"""What the pages cost a browser while 2,000 devices report: frames, the thread's time, memory.

usage: python tests/bench/pages_bench.py [DEVICES] [SECONDS]        (by itself 2000 devices, 15 s a view)

Not collected by pytest. A run that stays is started with vehicles, sensors and machines, the system's Chromium looks at
each view of it, and alarms are raised meanwhile. The machine is shared with the fleet and the sandbox, so a frame's
length on the wall is an upper bound; what the page itself takes is the thread's time.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.e2e.pages_browser import VIEWS, Visit, chromium

REPO = Path(__file__).resolve().parents[2]
READY_S = 300.0
FRAME_MS, HEAP_MB = 100.0, 200.0

_SCENARIO = """
scenario: pages-bench
title: {devices} devices
seed: 1
physics_speed: 20
fleet:
  - {{profile: vehicle-sedan, count: {part}, name: "Vehicle-VIN-{{n}}"}}
  - {{profile: vehicle-suv, count: {part}, name: "Vehicle-VIN-{{n}}"}}
  - {{profile: vehicle-truck, count: {part}, name: "Vehicle-VIN-{{n}}"}}
  - {{profile: fire-sensor, count: {rest}, name: "device-{{n}}"}}
sandbox:
  rules:
    - {{ruleId: engine-overheat, productId: "*", type: threshold, condition: "metrics.engine_temp_c > 110",
       severity: high, clearFor_s: 5}}
timeline:
  - {{kind: connect, over_s: 20}}
  - {{kind: inject, profiles: [vehicle-*], count: 100, fault: {{kind: bias, signal: engine_temp_c, by: 60}}}}
checks:
  - {{kind: devices, at_least: 1}}
"""

# Frames as the browser shows them, and tasks that kept it from showing one.
_WATCH = """
() => {
  const seen = window.seen = {frames: [], tasks: []};
  new PerformanceObserver((list) => { for (const one of list.getEntries()) seen.tasks.push(one.duration); })
    .observe({entryTypes: ["longtask"]});
  let before = performance.now();
  const look = (now) => { seen.frames.push(now - before); before = now; requestAnimationFrame(look); };
  requestAnimationFrame(look);
}
"""


def main(devices: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="pages-bench-") as folder:
        home = Path(folder)
        for name in ("profiles", "firmware"):
            (home / name).symlink_to(REPO / name)
        (home / "scenarios").mkdir()
        part = devices // 4
        text = _SCENARIO.format(devices=devices, part=part, rest=devices - 3 * part)
        (home / "scenarios" / "pages-bench.yaml").write_text(text)
        with (home / "stderr").open("wb") as said:
            run = subprocess.Popen(
                [sys.executable, "-m", "simulator", "run", "pages-bench", "--stay", "--out", "out", "--record", "none"],
                cwd=home, env={**os.environ, "FLEETSIM_HOME": folder, "PYTHONPATH": str(REPO)}, stderr=said,
                stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        try:
            link = _says(run, home / "stderr", "watch it at").split()[-1]
            _says(run, home / "stderr", "fault injected")
            with chromium("--enable-precise-memory-info", "--js-flags=--expose-gc") as browser:
                visit = Visit(browser, link)
                visit.shows(
                    "(n) => parseInt(document.querySelector('.tiles dd')?.textContent.replace(',', '')) >= n",
                    0.95 * devices,
                )
                print(" · ".join(visit.page.locator(".tiles > div").all_inner_texts()).replace("\n", " "), flush=True)
                worst = [_measure(visit, view, seconds) for view in _views()]
        finally:
            run.send_signal(signal.SIGINT)
            run.wait(120)
    frame_ms, heap_mb = (max(one[i] for one in worst) for i in (0, 1))
    print(f"\nworst: p99 {frame_ms:.0f} ms (at most {FRAME_MS:.0f}), heap {heap_mb:.0f} MB (at most {HEAP_MB:.0f})")
    sys.exit(frame_ms > FRAME_MS or heap_mb > HEAP_MB)


def _views() -> list[str]:
    return [*VIEWS, "device/Vehicle-VIN-0001"]


def _says(run: "subprocess.Popen[bytes]", log: Path, text: str) -> str:
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s and run.poll() is None:
        for line in log.read_text().splitlines():
            if text in line:
                return line
        time.sleep(0.2)
    sys.exit(f"no '{text}' was said:\n{log.read_text()[-2000:]}")


def _measure(visit: Visit, view: str, seconds: float) -> tuple[float, float]:
    """The p99 of the frames and the heap at its largest."""
    visit.go(view)
    page = visit.page
    page.wait_for_timeout(3000)  # what is there is read at first, that is not how it goes on
    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.evaluate(_WATCH)
    before, heap_mb = _metrics(tools), 0.0
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        page.wait_for_timeout(500)
        if view == "map":
            page.locator("canvas.map").press("ArrowLeft" if int(2 * time.monotonic()) % 2 else "+")
        heap_mb = max(heap_mb, _metrics(tools)["JSHeapUsedSize"] / 2**20)
    after = _metrics(tools)
    seen = page.evaluate("window.seen")
    frames = sorted(seen["frames"]) or [0.0]
    p50, p99 = frames[len(frames) // 2], frames[min(len(frames) - 1, int(0.99 * len(frames)))]
    busy = (after["TaskDuration"] - before["TaskDuration"]) / seconds
    page.evaluate("gc()")
    kept_mb = _metrics(tools)["JSHeapUsedSize"] / 2**20
    print(
        f"{view:24} {len(frames) / seconds:5.1f} frames/s, p50 {p50:3.0f}, p99 {p99:3.0f}, most {frames[-1]:3.0f} ms;"
        f" long tasks {len(seen['tasks']):3}, longest {max(seen['tasks'], default=0):4.0f} ms; thread {busy:4.0%};"
        f" heap {heap_mb:4.0f} MB, {kept_mb:3.0f} kept; {after['Nodes']:6.0f} nodes", flush=True,
    )  # fmt: skip
    tools.detach()
    return p99, heap_mb


def _metrics(tools: Any) -> dict[str, float]:
    return {one["name"]: one["value"] for one in tools.send("Performance.getMetrics")["metrics"]}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, float(sys.argv[2]) if len(sys.argv) > 2 else 15.0)

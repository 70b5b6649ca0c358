"""Progress as a line: how many of how many, how fast, how much longer. Pure: the clock comes in."""

from dataclasses import dataclass

from simulator.words import span

EVERY_S = 5.0  # between two lines where there is no terminal
REDRAW_S = 0.1  # on one


@dataclass(slots=True)
class Pace:
    """One thing that is being done."""

    what: str
    first: int  # done when it was first heard of
    first_s: float
    shown_s: float = float("-inf")

    def line(self, done: int, of: int, now_s: float) -> str:
        """`things 240/1000  80.0/s  9.5 s left`."""
        said = f"{self.what} {done}/{of}"
        elapsed_s, since = now_s - self.first_s, done - self.first
        if since <= 0 or elapsed_s < REDRAW_S:
            return said
        per_s = since / elapsed_s
        left = f"  {span(int(1000 * (of - done) / per_s))} left" if done < of else f"  in {span(int(1000 * elapsed_s))}"
        return f"{said}  {per_s:.1f}/s{left}"

    def due(self, done: int, of: int, now_s: float, every_s: float) -> bool:
        """Is it time to show a line? The last one is always shown."""
        if done < of and now_s - self.shown_s < every_s:
            return False
        self.shown_s = now_s
        return True

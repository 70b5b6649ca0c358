"""Settings of a device that its shadow may desire: what a value must be, and what it does.

    telemetry_interval_s: {applies_to: telemetry.every_s, min: 1, max: 3600}    changes a behaviour's key
    fan_speed: {holds: fan_level, min: 0, max: 1}                               sets a part; "auto" lets it go
    log_level: {start: info, one_of: [debug, info]}                             is kept and reported

`start` is what is reported before anything was desired, and says the type of a setting that does nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from simulator.behaviours import Behaviour, Body, Outputs
from simulator.errors import did_you_mean
from simulator.schema import Misplaced, Strict

AUTO = "auto"
TEXT_MAX = 256

Value = bool | float | str


class Setting(Strict):
    """Something that can be set from outside."""

    applies_to: str | None = Field(
        None, pattern=r"^[a-z_]+\.[a-z_]+$", description="The behaviour and its key: telemetry.every_s."
    )
    holds: str | None = Field(None, description="The part (a signal) that it sets.")
    start: Value | None = Field(None, description="The value it comes with.")
    min: float | None = Field(None, description="The least number that is taken.")
    max: float | None = Field(None, description="The greatest number that is taken.")
    one_of: list[str] | None = Field(None, min_length=1, max_length=64, description="The texts that are taken.")
    takes_s: float = Field(1.0, ge=0, le=3600, description="How long it takes until it is so.")

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Setting":
        if self.applies_to and self.holds:
            raise ValueError("either 'applies_to' or 'holds', not both")
        if self.applies_to or self.holds:
            if self.min is None or self.max is None or self.min > self.max:
                raise ValueError("needs 'min' and 'max', rising")
            if self.start is not None or self.one_of is not None:
                raise ValueError("has no 'start' and no 'one_of': it is a number that the device has already")
        elif self.start is None:
            raise ValueError("needs 'start', or what it 'applies_to' or 'holds'")
        elif wrong := self.wrong(self.start):
            raise ValueError(f"'start' {wrong}")
        return self

    def wrong(self, value: Any) -> str:
        """Why a value cannot be taken; empty when it can."""
        if self.holds and value == AUTO:
            return ""
        if isinstance(self.start, bool):
            return "" if isinstance(value, bool) else "must be true or false"
        if isinstance(self.start, str):
            if not isinstance(value, str) or len(value) > TEXT_MAX:
                return f"must be a text of at most {TEXT_MAX} characters"
            return "" if self.one_of is None or value in self.one_of else f"must be one of {', '.join(self.one_of)}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        if self.min is not None and value < self.min:
            return f"must be {self.min:g} or more"
        return f"must be {self.max:g} or less" if self.max is not None and value > self.max else ""

    def first(self) -> Value | None:
        """What is reported before anything was desired; None: nothing."""
        return AUTO if self.holds else self.start

    def apply(self, body: Body, value: Any, now_ms: int) -> Outputs:
        """Make it so; the value is a right one."""
        if self.holds:
            body.set_part(self.holds, None if value == AUTO else float(value), now_ms)
        return body.tell(self.applies_to, float(value), now_ms) if self.applies_to else []


def misfits(settings: Mapping[str, Setting], others: Sequence[Behaviour]) -> Iterator[Misplaced]:
    """Settings that apply to what the profile has not, or not so."""
    known = {
        f"{getattr(other, 'kind', '')}.{key}": range_ for other in others for key, range_ in other.settable.items()
    }
    for name, setting in settings.items():
        if setting.applies_to is None:
            continue
        where, allowed = ("settings", name, "applies_to"), known.get(setting.applies_to)
        if allowed is None:
            yield Misplaced(
                where, f"nothing to set at '{setting.applies_to}'{did_you_mean(setting.applies_to, list(known))}"
            )
        elif not (allowed.low <= (setting.min or 0) and (setting.max or 0) <= allowed.high):
            yield Misplaced(("settings", name), f"'{setting.applies_to}' takes {allowed.low:g} to {allowed.high:g}")

"""MiniStack's job executions, with an index by thing and by job.

MiniStack looks for a thing's executions, and for a job's, among all there are, several times for each device that it
notifies: a job for a thousand things stopped everything for three seconds, one for ten thousand for minutes. `install`
puts this table in the place of its dictionary. While one of its functions is about one thing or one job, iteration
gives only the executions of that; what it is about comes in a context variable, because the code that iterates has no
way to say so. It also has a continuous job look for new members of its groups only once, when it is created: every way
into a group tells jobs of it.
"""

from collections.abc import Callable, ItemsView, Iterator
from contextvars import ContextVar
from typing import Any, Literal

About = tuple[Literal["thing", "job"], str]
Key = tuple[str, str, tuple[str, str]]  # account, region, (thing, job)
Execution = dict[str, Any]

_about: ContextVar[About | None] = ContextVar("about", default=None)
# None of them waits or starts anything, which would go on believing that it is about the same.
_OF_THING = ("jobs_pending_for_thing", "_list_job_executions_for_thing")
_OF_JOB = (
    "_describe_job",
    "_jobs_cancel",
    "_jobs_maybe_complete",
    "_jobs_status_counts",
    "_list_job_executions_for_job",
)


class Executions(dict[Key, Execution]):
    """Account, region, thing and job → execution. What is about one thing or job iterates over its own alone."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[About, dict[Key, None]] = {}

    def __setitem__(self, key: Key, execution: Execution) -> None:
        super().__setitem__(key, execution)
        for about in self._abouts(key):
            self._found.setdefault(about, {})[key] = None

    def __delitem__(self, key: Key) -> None:
        super().__delitem__(key)
        for about in self._abouts(key):
            del self._found[about][key]
            if not self._found[about]:
                del self._found[about]

    def pop(self, key: Key, *default: Any) -> Any:
        if key not in self and default:
            return default[0]
        execution = self[key]
        del self[key]
        return execution

    def clear(self) -> None:
        super().clear()
        self._found = {}

    def __iter__(self) -> Iterator[Key]:
        about = _about.get()
        return super().__iter__() if about is None else iter(self._found.get(about, {}))

    def items(self) -> ItemsView[Key, Execution]:  # type: ignore[override]
        if _about.get() is None:
            return super().items()
        return {key: self[key] for key in self}.items()

    @staticmethod
    def _abouts(key: Key) -> tuple[About, About]:
        thing, job = key[2]
        return ("thing", thing), ("job", job)


def install(iot: Any) -> None:
    """Give MiniStack's module `services.iot` the table, and let it know what its functions are about."""
    table = Executions()
    for key, execution in iot._job_executions._data.items():
        table[key] = execution
    iot._job_executions._data = table
    for name in _OF_THING:
        setattr(iot, name, _knowing("thing", getattr(iot, name)))
    for name in _OF_JOB:
        setattr(iot, name, _knowing("job", getattr(iot, name)))
    original = iot._jobs_materialize_executions

    def materialize(job_id: str) -> None:
        job = iot._jobs.get(job_id)
        if job is not None and not job["snapshotted"]:
            original(job_id)
            job["snapshotted"] = True

    iot._jobs_materialize_executions = materialize


def _knowing(kind: Literal["thing", "job"], function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose first argument is the name of what it is about."""

    def knowing(name: str, *args: Any, **kwargs: Any) -> Any:
        token = _about.set((kind, name))
        try:
            return function(name, *args, **kwargs)
        finally:
            _about.reset(token)

    return knowing

"""What one address of the API is, said once: the routes, the checks of what is asked, and the description come from it.

    Route("GET", "/api/alarms", ALL, "Alarms, in the order of their last change.", alarms, AlarmsAsked, AlarmPage)

A handler is given a `Call` and gives a body for JSON, or a finished Response. Rules: a parameter that is unknown, wrong
or given twice is a 400 that names it; what a caller may not see is a 404 like what is not there.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any, Generic, Literal, NamedTuple, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from simulator.backend.api.feed import Feed
from simulator.backend.api.reads import Readers, Reads
from simulator.backend.api.sessions import Sessions
from simulator.backend.api.tokens import ROLES, Role, Tokens, Who
from simulator.backend.changes import Changes
from simulator.backend.times import Times
from simulator.errors import did_you_mean

NUMBER_MAX = 2**62
LIMIT_DEFAULT = 100
BODY_MAX = 256 * 1024
SHOWN = 40  # characters of a wrong value

ALL = frozenset(ROLES)
STAFF: frozenset[Role] = frozenset(("service", "lab"))
SERVICE: frozenset[Role] = frozenset(("service",))
PUBLIC: frozenset[Role] = frozenset()


def _digits(value: object) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > NUMBER_MAX:
        raise PydanticCustomError("number", "'{text}' is not a whole number", {"text": text[:SHOWN]})
    return int(text)


def _flag(value: object) -> bool:
    if str(value) not in ("true", "false"):
        raise PydanticCustomError("flag", "'{text}' is neither true nor false", {"text": str(value)[:SHOWN]})
    return str(value) == "true"


Number = Annotated[
    int, BeforeValidator(_digits), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": NUMBER_MAX})
]
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": "boolean"})]
Word = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


LIMIT: Any = Field(LIMIT_DEFAULT, description="At most so many; more than a page holds are not given.")


class Asked(BaseModel):
    """Parameters of the query: none. Others derive from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paged(Asked):
    """Parameters of a list whose places are numbers."""

    after: Number = Field(0, description="`next` of the page before; 0: from the beginning.")
    limit: Number = LIMIT


class Named(Asked):
    """Parameters of a list whose places are names."""

    after: Word = Field("", description="`next` of the page before; empty: from the beginning.")
    limit: Number = LIMIT


Q = TypeVar("Q", bound=Asked)


# Of a device; None: there is none.
ReadShadow = Callable[[str], Awaitable[dict[str, Any] | None]]


class Desk(NamedTuple):
    """What the whole API works with."""

    readers: Readers
    tokens: Tokens
    sessions: Sessions
    feed: Feed
    now_ms: Callable[[], int]
    changes: Changes | None
    tcp: Mapping[str, int] | None  # what the TCP gateway counts, in this process
    times: Times | None
    answers: Mapping[int, int]  # by status
    shadow: ReadShadow | None


class Call(NamedTuple, Generic[Q]):
    """One request, checked."""

    who: Who
    name: str  # what the path names, if it names something
    asked: Q
    reads: Reads
    request: Request
    desk: Desk
    body: bytes = b""

    @property
    def now_ms(self) -> int:
        """The platform's clock."""
        return self.desk.now_ms()

    @property
    def changes(self) -> Changes:
        """Who changes what is in force."""
        if self.desk.changes is None:
            raise HTTPException(405, "nothing can be changed here")
        return self.desk.changes

    def forbid(self, what: str) -> NoReturn:
        """It is not for the caller's role."""
        raise HTTPException(403, f"not for the role '{self.who.role}': {what}")

    def known(self, thing: str) -> None:
        """Go on only if the caller may know of this device."""
        if not self.reads.queries.knows(thing, self.who.owner):
            missing("device", thing)


Handler = Callable[[Call[Any]], Any]


class Route(NamedTuple):
    """One method at one address. `after` a slash in braces is a name: `/api/device/{id}`."""

    method: Literal["GET", "PUT", "POST", "DELETE"]
    path: str
    roles: frozenset[Role]  # empty: everybody, without a token
    summary: str
    handler: Handler | Callable[[Call[Any]], Awaitable[Any]]
    asked: type[Asked] = Asked
    answer: Any = dict[str, Any]  # the type of the body
    body: Any = None  # the type of the body that it takes
    body_max: int = BODY_MAX  # bytes
    changes: bool = False  # of what is in force, by `Changes`
    status: int = 200
    slow: bool = False  # in a thread, for it may read much
    slow_for_owners: bool = False  # in a thread for a customer, whose rows may lie far between those of others
    media: str = "application/json"


def missing(what: str, name: str) -> NoReturn:
    """It is not there, or the caller may not know it."""
    raise HTTPException(404, f"unknown {what} '{name[:256]}'")


def read_query(model: type[Q], request: Request) -> Q:
    """The parameters; HTTPException 400 for the first that is wrong."""
    said: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in said:
            raise HTTPException(400, f"{name[:SHOWN]}: given twice")
        said[name] = value
    try:
        return model.model_validate(said)
    except ValidationError as error:
        raise HTTPException(400, _worded(error.errors(include_url=False)[0], model.model_fields)) from None


def _worded(error: ErrorDetails, known: Iterable[str]) -> str:
    name = str(error["loc"][0])[:SHOWN] if error["loc"] else "the query"
    if error["type"] == "extra_forbidden":
        return f"{name}: unknown parameter{did_you_mean(name, list(known))}"
    if error["type"] == "missing":
        return f"{name}: is missing"
    if error["type"] in ("number", "flag"):
        return f"{name}: {error['msg']}"
    return f"{name}: '{str(error['input'])[:SHOWN]}': {error['msg'][:1].lower()}{error['msg'][1:]}"

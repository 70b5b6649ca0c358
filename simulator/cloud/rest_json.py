"""AWS's REST-JSON by botocore's own model of a service: which operation, which parameters, which answer.

Rules: nothing about an operation is written down here that the model says: URI, places of the parameters,
types, limits, patterns, members of the answer. A model is loaded at its first use (30 ms), not at start-up.
"""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

Answer = tuple[int, dict[str, str], bytes]
_JSON = {"Content-Type": "application/json"}
_NO_HEADERS: Mapping[str, str] = {}


class BadRequestError(Exception):
    """The request does not fit the model of its operation."""


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    first: str  # part of the path; no model has a parameter there
    pattern: re.Pattern[str]
    operation: str


class Api:
    """The operations of one service."""

    def __init__(self, service: str) -> None:
        self.service = service
        from botocore.loaders import Loader
        from botocore.model import ServiceModel

        self._model = ServiceModel(Loader().load_service_model(service, "service-2"), service)
        self._routes: dict[tuple[str, str], list[_Route]] = {}
        for route in map(self._route, self._model.operation_names):
            self._routes.setdefault((route.method, route.first), []).append(route)

    @property
    def operations(self) -> list[str]:
        """The names of all operations."""
        return list(self._model.operation_names)

    def status_of(self, exception: str) -> int | None:
        """The HTTP status of an exception; None when the service has none of that name."""
        if exception not in self._model.shape_names:
            return None
        return int(self._model.shape_for(exception).metadata.get("error", {}).get("httpStatusCode", 400))

    def request_line(self, operation: str) -> tuple[str, str]:
        """Method and URI of an operation, the URI with its parameters in braces."""
        http: Mapping[str, Any] = self._model.operation_model(operation).http
        return http["method"], http["requestUri"]

    def _route(self, name: str) -> _Route:
        http: Mapping[str, Any] = self._model.operation_model(name).http
        path = http["requestUri"].partition("?")[0]
        pattern = "".join(
            f"(?P<{part[1:-1].rstrip('+')}>{'.+' if part.endswith('+}') else '[^/]+'})"
            if part.startswith("{")
            else re.escape(part)
            for part in re.split(r"(\{[^}]+\})", path)
        )
        return _Route(http["method"], path.split("/")[1], re.compile(pattern), name)

    def match(self, method: str, raw_path: str) -> tuple[str, dict[str, str]] | None:
        """The operation that a request names, and the parameters in its path."""
        for route in self._routes.get((method, unquote(raw_path).split("/")[1] if raw_path else ""), ()):
            if found := route.pattern.fullmatch(raw_path):
                return route.operation, {name: unquote(value) for name, value in found.groupdict().items()}
        return None

    def parameters(
        self,
        operation: str,
        in_path: Mapping[str, str],
        query: Mapping[str, list[str]],
        body: bytes,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> dict[str, Any]:
        """The checked parameters of a request, whose headers have lower-case names; raises BadRequestError."""
        shape = self._model.operation_model(operation).input_shape
        try:
            document = json.loads(body) if body.strip() else {}
        except ValueError:
            raise BadRequestError("The request body is not valid JSON") from None
        if not isinstance(document, dict):
            raise BadRequestError("The request body must be a JSON object")
        values: dict[str, Any] = {}
        whole = shape.serialization.get("payload") if shape else None  # the member that is the body
        for name, member in (shape.members if shape else {}).items():
            place, key = member.serialization.get("location"), member.serialization.get("name", name)
            if place == "uri":
                values[name] = in_path[key]
            elif place == "querystring":
                if key in query:
                    values[name] = _from_text(query[key][0], member)
            elif place == "header":
                if key.lower() in headers:
                    values[name] = headers[key.lower()]
            elif name == whole:
                values[name] = document
            elif document.get(key) is not None:
                values[name] = document[key]
        problems: list[str] = []
        if shape is not None:
            _check(values, shape, "", problems)
        if problems:
            plural = "s" if len(problems) > 1 else ""
            raise BadRequestError(f"{len(problems)} validation error{plural} detected: " + "; ".join(problems))
        return values

    def answer(self, operation: str, result: Mapping[str, Any]) -> Answer:
        """The HTTP answer; a result member that the model does not know is a bug of ours."""
        model = self._model.operation_model(operation)
        known = model.output_shape.members if model.output_shape else {}
        unknown = set(result) - set(known)
        if unknown:
            raise ValueError(f"{operation} has no {', '.join(sorted(unknown))} in its answer")
        body = {name: value for name, value in result.items() if value is not None}
        return int(model.http.get("responseCode", 200)), dict(_JSON), json.dumps(body).encode()


@functools.cache
def api(service: str) -> Api:
    """The API of a service, as `iot` or `iot-jobs-data`."""
    return Api(service)


def error(status: int, code: str, message: str) -> Answer:
    """An error as REST-JSON services word it."""
    return status, {**_JSON, "x-amzn-ErrorType": code}, json.dumps({"message": message}).encode()


def unsupported(api: Api, method: str, path: str) -> Answer:
    """The answer to what the sandbox does not have. 501 is the one server error that SDKs do not repeat."""
    found = api.match(method, path)
    if found is None:
        text = f"{method} {path} is no operation of {api.service}; is there a slash in a name?"
        return error(400, "InvalidRequestException", text)
    return error(501, "NotImplementedException", f"The sandbox does not implement {found[0]} ({method} {path})")


def _from_text(text: str, shape: Any) -> Any:
    if shape.type_name in ("integer", "long"):
        try:
            return int(text)
        except ValueError:
            return text  # _check names it
    if shape.type_name == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return text


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "boolean": (bool,),
    "double": (int, float),
    "float": (int, float),
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
}


def _check(value: Any, shape: Any, where: str, problems: list[str]) -> None:
    """Append what is wrong with a value, in the words of the service."""
    wanted = _PYTHON_TYPES.get(shape.type_name)
    if wanted is not None and (
        not isinstance(value, wanted) or (isinstance(value, bool) and shape.type_name != "boolean")
    ):
        problems.append(f"Value at '{where}' failed to satisfy constraint: Member must be a {shape.type_name}")
        return
    own = [_limits(value, shape)] if shape.type_name in ("string", "integer", "long") else []
    if shape.type_name in ("map", "list"):
        own = [_limits(value, shape)]
    shown = f"Value '{value}' at" if shape.type_name == "string" and not shape.metadata.get("sensitive") else "Value at"
    problems += [f"{shown} '{where}' failed to satisfy constraint: {text}" for texts in own for text in texts]
    if shape.type_name == "structure":
        for name in shape.required_members:
            if value.get(name) is None:
                problems.append(
                    f"Value at '{_below(where, name)}' failed to satisfy constraint: Member must not be null"
                )
        for name, member in shape.members.items():
            if value.get(name) is not None:
                _check(value[name], member, _below(where, name), problems)
    elif shape.type_name == "map":
        for key, item in value.items():
            _check(key, shape.key, f"{where}.key", problems)
            _check(item, shape.value, f"{where}.{key}", problems)
    elif shape.type_name == "list":
        for index, item in enumerate(value, 1):
            _check(item, shape.member, f"{where}.{index}.member", problems)


def _below(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _limits(value: Any, shape: Any) -> list[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if shape.type_name in ("integer", "long"):
        size, subject = value, "Member must have value"
    else:
        size, subject = len(value), "Member must have length"
    problems = []
    if low is not None and size < low:
        problems.append(f"{subject} greater than or equal to {low}")
    if high is not None and size > high:
        problems.append(f"{subject} less than or equal to {high}")
    # botocore drops the pattern from the metadata, although the model has it.
    pattern = shape._shape_model.get("pattern")
    if pattern and value != "" and not _compiled(pattern).fullmatch(value):
        problems.append(f"Member must satisfy regular expression pattern: {pattern}")
    choices = shape.metadata.get("enum")
    if choices and value not in choices:
        problems.append(f"Member must satisfy enum value set: [{', '.join(choices)}]")
    return problems


# The character classes of the models that Python cannot read; the models use them within brackets.
_CLASSES = {
    r"\p{C}": r"\x00-\x1f\x7f-\x9f",
    r"\p{Cntrl}": r"\x00-\x1f\x7f",
    r"\p{Digit}": "0-9",
    r"\p{Graph}": "!-~",
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Upper}": "A-Z",
    r"\p{Z}": r" \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
}


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of a model."""
    return re.compile(re.sub(r"\\p\{\w+\}", lambda found: _CLASSES[found[0]], pattern))

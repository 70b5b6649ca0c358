"""Models behind an address, for tests: they answer as told, and remember what they were asked."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    path: str
    kind: str
    body: bytes


class Answer(NamedTuple):
    status: int = 200
    body: bytes | None = None  # None: a score for each row, its first feature / 1000
    kind: str = "application/json"
    location: str = ""


class Model:
    """A server on loopback."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers, self.asked = list(answers), list[Asked]()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                kind = self.headers["content-type"]
                model.asked.append(Asked(self.path, kind, body))
                answer = model.answers.pop(0) if model.answers else Answer()
                data = model.scores(kind, body) if answer.body is None else answer.body
                self.send_response(answer.status)
                self.send_header("content-type", kind if answer.body is None else answer.kind)
                self.send_header("content-length", str(len(data)))
                if answer.location:
                    self.send_header("location", answer.location)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def scores(self, kind: str, body: bytes) -> bytes:
        if kind == "text/csv":
            lines = body.decode().splitlines()
            return "\n".join(str(float(line.split(",")[0] or 0) / 1000) for line in lines).encode()
        document = json.loads(body)
        rows = document.get("rows") or [window[-1] for window in document["windows"]]
        return json.dumps({"scores": [(row[0] or 0) / 1000 for row in rows]}).encode()

    @contextmanager
    def serving(self) -> Iterator["Model"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

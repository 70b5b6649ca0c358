"""uvicorn's HTTP/1.1 with a bound for the head of a request: without it a head that has no end fills the memory.

Rules: it counts what comes while a head is read (not what came in one piece with the end of a body), and cuts
the connection at HEAD_MAX. Bodies have bounds of their own.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_MAX = 64 * 1024


class BoundedHead(HttpToolsProtocol):
    """One connection."""

    _in_head = True
    _turns = 0  # from head to body and from body to head
    _size = 0

    def data_received(self, data: bytes) -> None:
        turns = self._turns
        super().data_received(data)
        if not self._in_head or turns != self._turns:
            self._size = 0
            return
        self._size += len(data)
        if self._size > HEAD_MAX:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._turns += 1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._turns += 1
        super().on_message_complete()

"""Wire: what travels on a connection, as bytes and as values.

Rules: no sockets, no clock, no dice. A codec is given bytes and gives values, or the other way round; a
session is given the time as an argument. Any bytes from the far side give values or a `ProtocolError`,
never another exception, and nothing is kept without a bound.
"""


class ProtocolError(Exception):
    """The far side said something that its protocol does not allow."""

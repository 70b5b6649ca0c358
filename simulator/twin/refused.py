"""What the cloud says no to."""


class Refused(Exception):
    """A request that is not carried out, with HTTP's word for it."""

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code

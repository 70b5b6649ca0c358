"""A connection to a store's file for who only reads: it sees what was committed, and can change nothing."""

import sqlite3
from pathlib import Path


class Reader:
    """Reads one store. One thread asks at a time."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, for questions of others."""
        return self._db

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

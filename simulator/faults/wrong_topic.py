"""The device says it in the wrong place: its topic, or over REST its path, is misspelt."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Subject
from simulator.faults._saying import Hitting, Saying
from simulator.messages import Later, Output, Publish


class WrongTopic(Saying):
    """Publishes to `topic`, or to its own with two letters swapped."""

    family: ClassVar[Family] = "protocol"
    example: ClassVar[str] = "{kind: wrong_topic, probability: 0.2}"

    kind: Literal["wrong_topic"] = "wrong_topic"
    topic: str | None = Field(
        None, min_length=1, max_length=1024, pattern=r"^[^+#\x00]+$",
        description="With {env}, {hub} and {thing} filled in; absent: its own, misspelt.",
    )  # fmt: skip

    def unfit(self, subject: Subject) -> str | None:
        return "has no topics over tcp" if subject.channel == "tcp" else None

    def expects(self, subject: Subject) -> Expected:
        words = "what it says is where nobody looks for it, and is refused or kept as a dead letter"
        return Expected("", words, "refusal")

    def start(self, body: Body, now_ms: int) -> Active:
        return Misplacing(self, now_ms)


class Misplacing(Hitting):
    __slots__ = ()
    what: WrongTopic

    def hit(self, body: Body, message: Publish, now_ms: int) -> list[Output | Later]:
        topic = body.topic(self.what.topic) if self.what.topic else misspelt(message.topic, body.thing)
        return [message._replace(topic=topic)]


def misspelt(topic: str, thing: str) -> str:
    """The topic with two letters swapped in its longest word: neither in the name of a device nor in that of a form."""
    levels = topic.split("/")
    words = [i for i, level in enumerate(levels) if level.isalpha() and level not in (thing, "json", "bin")]
    if not words:
        return f"{topic}x"
    longest = max(words, key=lambda i: len(levels[i]))
    word = levels[longest]
    at = next((i for i in range(len(word) // 2, len(word) - 1) if word[i] != word[i + 1]), None)
    levels[longest] = f"{word}x" if at is None else word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return "/".join(levels)

"""Publish over HTTPS: the sizes and depths that MiniStack does not look at."""

from typing import Any

from simulator.cloud.broker import limits
from simulator.cloud.rest_json import Answer


def install(iot: Any, iot_data: Any) -> None:
    """Stand before the function of MiniStack's module `services.iot_data`."""
    original = iot_data._publish

    async def publish(topic: str, body: bytes, *rest: Any) -> Answer:
        refused: Answer
        if len(body or b"") > limits.PAYLOAD_BYTES_MAX:
            text = f"The payload exceeds the maximum size of {limits.PAYLOAD_BYTES_MAX} bytes"
            refused = iot.error_response_json("RequestEntityTooLargeException", text, 413)
            return refused
        if wrong := limits.topic_wrong(topic):
            refused = iot.error_response_json("InvalidRequestException", f"Invalid topic: {wrong}", 400)
            return refused
        answer: Answer = await original(topic, body, *rest)
        return answer

    iot_data._publish = publish

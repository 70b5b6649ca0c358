"""A device of AWS's own SDK (awsiotsdk) and requests, as a customer would write it. No code of ours.

Rules: it connects with a certificate file, does jobs by the SDK's jobs client and commands by plain topics, and
verifies what it downloads.
"""

import hashlib
import json
import queue
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import requests
from awscrt import mqtt5, mqtt_request_response
from awsiot import ServiceStreamOptions, iotjobs, iotshadow, mqtt5_client_builder

WAIT_S = 20.0
_OPTIONS = {"max_request_response_subscriptions": 4, "max_streaming_subscriptions": 4}


class PlainDevice:
    """A connected device."""

    def __init__(self, name: str, cert_file: Path, key_file: Path, host: str, port: int, ca_file: str) -> None:
        """Connects; raises when it is refused."""
        self.name, self._ca_file = name, ca_file
        connected: Future[Any] = Future()
        self._stopped: Future[None] = Future()
        self._commands: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.next_jobs: queue.Queue[Any] = queue.Queue()  # what notify-next says
        self._client = mqtt5_client_builder.mtls_from_path(
            str(cert_file),
            str(key_file),
            endpoint=host,
            port=port,
            ca_filepath=ca_file,
            client_id=name,
            on_publish_received=self._on_message,
            on_lifecycle_connection_success=lambda data: connected.set_result(data.connack_packet.reason_code),
            on_lifecycle_connection_failure=lambda data: connected.set_exception(data.exception),
            on_lifecycle_stopped=lambda _data: self._stopped.set_result(None),
        )
        self._client.start()
        assert connected.result(WAIT_S) == mqtt5.ConnectReasonCode.SUCCESS
        options = mqtt_request_response.ClientOptions(operation_timeout_in_seconds=int(WAIT_S), **_OPTIONS)
        self._jobs = iotjobs.IotJobsClientV2(self._client, options)
        self._shadows = iotshadow.IotShadowClientV2(self._client, options)
        self._stream: Any = None

    def _on_message(self, data: Any) -> None:
        packet = data.publish_packet  # of the jobs and shadow clients, too
        if packet.topic.startswith("$aws/commands/"):
            self._commands.put((packet.topic, json.loads(packet.payload)))

    def close(self) -> None:
        """Disconnects, and lets go of the SDK's threads."""
        self._client.stop(mqtt5.DisconnectPacket())
        self._stopped.result(WAIT_S)
        self._stream = self._jobs = self._shadows = self._client = None

    # Shadow

    def report(self, **reported: Any) -> int:
        """Tells its classic shadow; the new version."""
        state = iotshadow.ShadowState(reported=reported)
        request = iotshadow.UpdateShadowRequest(thing_name=self.name, state=state)
        return int(self._shadows.update_shadow(request).result(WAIT_S).version)

    def shadow(self, name: str) -> dict[str, Any]:
        """What a named shadow says is reported."""
        request = iotshadow.GetNamedShadowRequest(thing_name=self.name, shadow_name=name)
        reported: dict[str, Any] = self._shadows.get_named_shadow(request).result(WAIT_S).state.reported
        return reported

    # Jobs

    def hear_of_jobs(self) -> None:
        """From now on `next_jobs` has what the service says is next."""
        established: Future[None] = Future()

        def on_status(event: Any) -> None:
            if event.type == mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED:
                established.set_result(None)

        self._stream = self._jobs.create_next_job_execution_changed_stream(
            iotjobs.NextJobExecutionChangedSubscriptionRequest(thing_name=self.name),
            ServiceStreamOptions(
                incoming_event_listener=lambda event: self.next_jobs.put(event.execution),
                subscription_status_listener=on_status,
            ),
        )
        self._stream.open()
        established.result(WAIT_S)

    def start_next_job(self) -> Any:
        """The execution that is next, now in progress; None when nothing is pending."""
        request = iotjobs.StartNextPendingJobExecutionRequest(thing_name=self.name)
        return self._jobs.start_next_pending_job_execution(request).result(WAIT_S).execution

    def do(self, execution: Any) -> bytes:
        """An update as its document describes it: downloaded by its URL, verified, reported with its progress."""
        document = execution.job_document
        done, content = 0, b""
        with requests.get(document["url"], stream=True, verify=self._ca_file, timeout=WAIT_S) as answer:
            answer.raise_for_status()
            size = int(answer.headers["Content-Length"])
            for part in answer.iter_content(size // 3 + 1):
                content += part
                done += 1
                self._update(execution, "IN_PROGRESS", {"progress": f"{100 * len(content) // size}%"})
        assert hashlib.sha256(content).hexdigest() == document["package"]["sha256"]
        self._update(execution, "SUCCEEDED", {"progress": "100%", "parts": str(done)})
        return content

    def _update(self, execution: Any, status: str, details: dict[str, str]) -> None:
        request = iotjobs.UpdateJobExecutionRequest(
            thing_name=self.name,
            job_id=execution.job_id,
            status=status,
            status_details=details,
            expected_version=execution.version_number,
        )
        self._jobs.update_job_execution(request).result(WAIT_S)
        execution.version_number += 1

    # Commands

    def obey(self, act: Callable[[Any], dict[str, Any]]) -> Callable[[], str]:
        """Subscribes to commands; the result waits for one, does it, answers, and gives the execution's id."""
        topic = f"$aws/commands/things/{self.name}/executions/+/request/json"
        subscription = mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE)
        codes = self._client.subscribe(mqtt5.SubscribePacket([subscription])).result(WAIT_S).reason_codes
        assert codes == [mqtt5.SubackReasonCode.GRANTED_QOS_1]

        def once() -> str:
            asked, payload = self._commands.get(timeout=WAIT_S)
            answer = json.dumps({"status": "SUCCEEDED", "result": act(payload)}).encode()
            answered = asked.replace("/request/", "/response/")
            packet = mqtt5.PublishPacket(topic=answered, qos=mqtt5.QoS.AT_LEAST_ONCE, payload=answer)
            self._client.publish(packet).result(WAIT_S)
            return str(asked.split("/")[5])

        return once

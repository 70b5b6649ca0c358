"""Uploads: asked for, PUT in parts, completed; what goes wrong is tried again within limits, then given up and said."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from aiohttp import web

from simulator.clock import VirtualClock
from simulator.device import Device
from simulator.ledger import Ledger
from simulator.links import Sink
from simulator.links.memory import Memory
from simulator.messages import Publish, Received, Upload, UploadEnded
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import Engine
from simulator.runtime.http import Http
from simulator.runtime.uploads import Uploads
from simulator.runtime.virtual import Virtual
from simulator.wire.content import PIECE_BYTES, pieces
from tests.core.fleets import PUMP, START_MS, THING, fleet, profile

Json = dict[str, Any]

LOG = "{kind: upload, name: log, size_kib: [100, 200], part_kib: 64, retries: 2}"
CONTROL = "{kind: control, actions: {upload-log: {uploads: log, takes_s: 0}}}"
TOPIC = f"iotlink/stg/nohub/{THING}/event"
ANSWER_MS, PUT_MS = 30, 200


class Office:
    """A pump and the backend that takes its files."""

    def __init__(self, *lines: str) -> None:
        text = PUMP + "".join(f"  - {line}\n" for line in lines or (LOG, CONTROL))
        self.ledger = Ledger()
        self.fleet = fleet(profile(text))
        self.virtual = Virtual(self.fleet, VirtualClock(), self.ledger, self._hear, None, self._store)
        self.requests: list[Json] = []
        self.completed: list[Json] = []
        self.puts: list[Upload] = []
        self.files: dict[str, list[bytes]] = {}
        self.ends: list[tuple[int, str]] = []  # (status, error) of the next PUTs; after that they succeed
        self.answers: list[Json | None] = []  # instead of the right ones; None: no answer
        self.virtual.start(0, START_MS)
        self.run(5)

    def run(self, for_s: float) -> None:
        self.virtual.run_until(self.virtual.clock.now_ms() + int(for_s * 1000))

    def ask(self, request_id: str = "r-1") -> None:
        document = {"data": {"control": {"name": "upload-log", "id": request_id}}}
        said = Received(f"{TOPIC}/pub/control_request/json", json.dumps(document).encode())
        self.virtual.tell(0, said, self.virtual.clock.now_ms())

    def kinds(self) -> list[str]:
        return [event.kind for event in self.ledger.events if event.kind.startswith("upload")]

    def _hear(self, now_ms: int, thing: str, message: Publish) -> None:
        if not message.kind.startswith("upload"):
            return
        document = json.loads(message.payload)
        assert document["device_timestamp"] <= now_ms
        upload = document["data"]["upload"]
        assert message.topic == f"{TOPIC}/pub/{message.kind}/json"
        if message.kind == "upload_complete":
            self.completed.append(upload)
            return
        self.requests.append(upload)
        answer: Json | None = {
            "id": upload.get("id", f"u-{len(self.requests)}"),
            "name": upload["name"],
            "urls": [
                f"https://s3/{upload['name']}/{n}?try={len(self.requests)}" for n in range(1, upload["parts"] + 1)
            ],
        }
        if self.answers:
            instead = self.answers.pop(0)
            answer = None if instead is None else {**(answer or {}), **instead}
        if answer is not None:
            payload = json.dumps({"data": {"upload": answer}}).encode()
            self.virtual.tell(0, Received(f"{TOPIC}/sub/upload_urls/json", payload), now_ms + ANSWER_MS)

    def _store(self, now_ms: int, thing: str, put: Upload) -> None:
        self.puts.append(put)
        status, error = self.ends.pop(0) if self.ends else (200, "")
        data = b"".join(pieces(put.seed, put.content_type, put.offset, put.size))
        assert len(data) == put.size
        if status == 200 and not error:
            self.files.setdefault(put.url.split("/")[3], []).append(data)
        etag = f'"{hashlib.md5(data).hexdigest()}"' if status == 200 else ""  # noqa: S324  it is what S3 does
        self.virtual.tell(0, UploadEnded(put.token, put.part, status, etag, error), now_ms + PUT_MS)


def test_asks_sends_the_parts_and_completes() -> None:
    office = Office()
    office.ask()
    office.run(10)
    [request] = office.requests
    assert set(request) == {"name", "size", "content_type", "parts"}
    assert 100 * 1024 <= request["size"] <= 200 * 1024
    assert request["parts"] == len(office.puts) == -(-request["size"] // 65_536)
    assert [(put.part, put.offset) for put in office.puts] == [(n + 1, n * 65_536) for n in range(request["parts"])]
    [done] = office.completed
    parts = office.files[request["name"]]
    assert done["etags"] == [f'"{hashlib.md5(part).hexdigest()}"' for part in parts]  # noqa: S324
    assert done == {
        "id": "u-1", "name": request["name"], "size": request["size"], "content_type": "text/plain",
        "result": "done", "reason": "", "etags": done["etags"],
    }  # fmt: skip
    assert b"".join(parts) == b"".join(pieces(office.puts[0].seed, "text/plain", 0, request["size"]))
    assert office.kinds() == ["upload_started", "uploaded"]


def test_on_an_interval_each_file_its_own() -> None:
    office = Office("{kind: upload, name: image, every_s: 600, size_kib: [10, 20], content_type: image/jpeg}")
    office.run(3600)
    assert len(office.completed) == 6
    assert len({done["name"] for done in office.completed}) == 6
    assert len({done["size"] for done in office.completed}) == 6
    assert len({b"".join(parts)[:64] for parts in office.files.values()}) == 6
    again = Office("{kind: upload, name: image, every_s: 600, size_kib: [10, 20], content_type: image/jpeg}")
    again.run(3600)
    assert again.files == office.files, "the same seed gives the same files"


def test_one_file_at_a_time() -> None:
    office = Office()
    for n in range(5):
        office.ask(f"r-{n}")
    office.run(20)
    assert len(office.completed) == len(office.requests) == 1
    office.ask("later")
    office.run(20)
    assert [done["result"] for done in office.completed] == ["done", "done"]


BROKEN = [
    ("a server error", [(503, "HTTP 503")], "done", 1, 1),
    ("a lost connection", [(0, "ClientOSError: reset")], "done", 1, 1),
    ("in the middle", [(200, ""), (0, "reset"), (500, "HTTP 500")], "done", 2, 1),
    ("an expired URL", [(403, "HTTP 403")], "done", 1, 2),
    ("an expired URL in the middle", [(200, ""), (403, "HTTP 403")], "done", 1, 2),
    ("for ever", [(503, "HTTP 503")] * 9, "failed", 2, 1),
    ("expired for ever", [(403, "HTTP 403")] * 9, "failed", 2, 3),
]


@pytest.mark.parametrize(("case", "ends", "result", "broken", "asked"), BROKEN, ids=[case[0] for case in BROKEN])
def test_what_breaks_is_tried_again_within_limits(
    case: str, ends: list[tuple[int, str]], result: str, broken: int, asked: int
) -> None:
    office = Office()
    office.ends = list(ends)
    office.ask()
    office.run(600)
    [done] = office.completed
    assert done["result"] == result
    assert len(done["etags"]) == (office.requests[0]["parts"] if result == "done" else 0)
    assert office.kinds().count("upload_broken") == broken
    assert len(office.requests) == asked
    assert all(request["id"] == "u-1" for request in office.requests[1:])
    if result == "done":
        [parts] = office.files.values()
        assert sum(map(len, parts)) == done["size"]
    else:
        assert done["reason"].startswith("part 1 failed 3 times: HTTP ")
    office.ask("again")
    office.ends.clear()
    office.run(60)
    assert office.completed[-1]["result"] == "done", "it is ready for the next"


WRONG = [
    ("refused", {"error": "too large"}, "refused: too large"),
    ("no id", {"id": ""}, "an answer without an id"),
    ("too few URLs", {"urls": ["https://s3/x"]}, "an answer without"),
    ("no URLs", {"urls": None}, "an answer without"),
    ("URLs that are none", {"urls": [1, 2, 3]}, "an answer without"),
]


@pytest.mark.parametrize(("case", "answer", "reason"), WRONG, ids=[case[0] for case in WRONG])
def test_an_answer_that_is_none_ends_it(case: str, answer: Json, reason: str) -> None:
    office = Office()
    office.answers = [answer]
    office.ask()
    office.run(60)
    assert office.puts == []
    assert office.completed == []
    [failed] = [event.detail for event in office.ledger.events if event.kind == "upload_failed"]
    assert failed["reason"].startswith(reason)


def test_asks_again_when_nobody_answers_and_gives_up_in_the_end() -> None:
    office = Office()
    office.answers = [None, None, {"name": "another file"}]
    office.ask()
    office.run(60)
    assert [done["result"] for done in office.completed] == ["done"]
    assert len(office.requests) == 4
    office.answers = [None] * 99
    office.ask("later")
    office.run(600)
    assert office.kinds()[-1] == "upload_failed"
    assert len(office.requests) == 4 + 5


@pytest.mark.parametrize("at_s", [0.01, 0.1, 0.3])
def test_goes_on_when_the_network_was_away(at_s: float) -> None:
    office = Office()
    office.ask()
    office.virtual.sever(0, office.virtual.clock.now_ms() + int(at_s * 1000), 120_000)
    office.ends = [(0, "ClientOSError: unreachable")]
    office.run(300)
    assert [done["result"] for done in office.completed] == ["done"]


def test_a_reboot_forgets_what_was_under_way() -> None:
    office = Office()
    office.ask()
    office.virtual.power_cycle(0, office.virtual.clock.now_ms() + 100, 5000)
    office.run(60)
    assert office.completed == []
    office.ask("r-2")
    office.run(60)
    assert [done["result"] for done in office.completed] == ["done"]


# Content


def test_any_stretch_of_a_file_can_be_made_alone() -> None:
    for content_type in ("text/plain", "image/jpeg"):
        whole = b"".join(pieces(7, content_type, 0, 3 * PIECE_BYTES + 5))
        assert len(whole) == 3 * PIECE_BYTES + 5
        for offset, size in ((0, 1), (1, PIECE_BYTES), (PIECE_BYTES - 1, 2), (PIECE_BYTES, 9), (100, 2 * PIECE_BYTES)):
            assert b"".join(pieces(7, content_type, offset, size)) == whole[offset : offset + size]
        assert whole != b"".join(pieces(8, content_type, 0, len(whole)))
    text = b"".join(pieces(7, "text/plain", 0, 4000)).decode()
    assert text.isascii()
    assert {len(line) for line in text.splitlines()} == {79}


def test_the_same_bytes_on_every_machine() -> None:
    digest = hashlib.sha256(b"".join(pieces(1, "image/jpeg", 0, 100_000))).hexdigest()
    assert digest == "1b5819ab75438fa2e3d9ede6fd5d75203e4b5ed42b4e44da0b59ac4314db6491"


# Over real HTTP


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(20):
            await story()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(in_time())


class Shelf:
    """An object store: takes parts, or what its path says."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, str], str]] = []  # (raw path, headers, SHA-256)
        self.hung, self.go_on = asyncio.Event(), asyncio.Event()

    async def put(self, request: web.Request) -> web.StreamResponse:
        mood = request.match_info["mood"]
        if mood == "hang":
            self.hung.set()
            await self.go_on.wait()
        if mood.isdigit():
            return web.Response(status=int(mood))
        digest = hashlib.sha256()
        async for data in request.content.iter_any():
            digest.update(data)
        self.taken.append((request.raw_path, dict(request.headers), digest.hexdigest()))
        return web.Response(headers={"ETag": '"e-1"'} if mood == "ok" else {})

    async def up(self) -> tuple[web.AppRunner, str]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_put("/{mood}", self.put)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def put(uploads: Uploads, url: str, size: int = 1000) -> UploadEnded:
    ended: asyncio.Future[UploadEnded] = asyncio.get_running_loop().create_future()
    uploads.start(0, Upload("t", url, 3, 9, "text/plain", 5000, size), ended.set_result)
    return await ended


def test_a_part_is_put_with_its_length_as_it_is_made() -> None:
    async def story() -> None:
        shelf, http = Shelf(), Http()
        runner, base = await shelf.up()
        query = "?partNumber=3&X-Amz-Credential=A%2F2026%2fus&X=%41"
        for size in (1, 1000, 5_000_000):
            assert await put(Uploads(http), f"{base}/ok{query}", size) == UploadEnded("t", 3, 200, '"e-1"', "")
            path, headers, digest = shelf.taken.pop()
            assert path == f"/ok{query}"
            assert headers["Content-Length"] == str(size)
            assert "Transfer-Encoding" not in headers
            assert digest == hashlib.sha256(b"".join(pieces(9, "text/plain", 5000, size))).hexdigest()
        await http.close()
        await runner.cleanup()

    run(story)


def test_a_device_uploads_over_real_http() -> None:
    """All of it live: asked by a control request, PUT in parts by the engine, completed."""

    async def story() -> None:
        shelf, links, completed = Shelf(), list[Memory](), list[Json]()
        runner, base = await shelf.up()

        def far(message: Publish) -> None:
            upload = json.loads(message.payload).get("data", {}).get("upload") if "upload" in message.kind else None
            if message.kind == "upload_request" and upload:
                answer = {
                    "data": {"upload": {"id": "u-1", "urls": [f"{base}/ok?part={n}" for n in range(upload["parts"])]}}
                }
                said = Received(f"{TOPIC}/sub/upload_urls/json", json.dumps(answer).encode())
                engine.loop.call_soon(engine.hear, 0, said)
            elif message.kind == "upload_complete" and upload:
                completed.append(upload)

        def link(device: Device, sink: Sink) -> Memory:
            links.append(Memory(sink, far))
            return links[0]

        engine = Engine(fleet(profile(PUMP + f"  - {LOG}\n  - {CONTROL}\n")), link, Downloads(), Ledger())
        engine.start(0)
        while not links or not links[0].up:
            await asyncio.sleep(0.001)
        request = {"data": {"control": {"name": "upload-log", "id": "r-1"}}}
        engine.hear(0, Received(f"{TOPIC}/pub/control_request/json", json.dumps(request).encode()))
        while not completed:
            await asyncio.sleep(0.001)
        [done] = completed
        assert (done["result"], done["etags"]) == ("done", ['"e-1"'] * len(shelf.taken))
        assert sum(int(headers["Content-Length"]) for _, headers, _ in shelf.taken) == done["size"]
        await engine.close()
        await runner.cleanup()

    run(story)


def test_what_goes_wrong_is_told() -> None:
    async def story() -> None:
        shelf, http = Shelf(), Http()
        runner, base = await shelf.up()
        uploads = Uploads(http)
        for status in (307, 400, 403, 500, 503):
            assert await put(uploads, f"{base}/{status}") == UploadEnded("t", 3, status, "", f"HTTP {status}")
        assert await put(uploads, f"{base}/no-etag") == UploadEnded("t", 3, 200, "", "")
        for url in ("http://127.0.0.1:1/x", "http://", "http://[/", "x"):
            ended = await put(uploads, url)
            assert (ended.status, ended.etag) == (0, "")
            assert ended.error
        await http.close()
        await runner.cleanup()

    run(story)


def test_a_cancelled_upload_says_no_more() -> None:
    async def story() -> None:
        shelf, http, heard = Shelf(), Http(), list[UploadEnded]()
        runner, base = await shelf.up()
        uploads = Uploads(http)
        uploads.start(1, Upload("t", f"{base}/hang", 1, 9, "text/plain", 0, 10), heard.append)
        await shelf.hung.wait()
        http.cancel(1)
        shelf.go_on.set()
        assert (await put(uploads, f"{base}/ok")).status == 200
        assert heard == []
        await http.close()
        await runner.cleanup()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(story)

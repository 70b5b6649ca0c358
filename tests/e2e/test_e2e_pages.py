"""The pages in a real browser, on a fleet that really runs: broken, watched and mended by the pages' own buttons."""

import re
import signal
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.fleetsim_command import Command
from tests.e2e.pages_browser import CHROMIUM, VIEWS, Visit, chromium

Fleetsim = Callable[..., Command]
EVIL = "<img src=x onerror=alert(1)>"

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def run(fleetsim: Fleetsim) -> Command:
    """A fleet that is whole, and stays."""
    return fleetsim("run", "pages-loop", "--stay", "--out", "out")


@pytest.fixture(scope="module")
def visit(run: Command, browser: Browser) -> Visit:
    """The service, come by the link that the command prints."""
    return Visit(browser, run.says("watch it at").split()[-1])


@pytest.fixture
def page(visit: Visit) -> Iterator[Page]:
    """Its page; after the test nothing may be wrong in it."""
    yield visit.page
    assert visit.wrong == []


def _break(visit: Visit, thing: str, **fields: str) -> None:
    """Inject a hanging fan on a device's own page."""
    visit.go(f"device/{thing}")
    box = visit.card("Try it")
    box.get_by_label("Fault", exact=True).select_option("hang")
    for name, value in {"part": "fan_level", "recurs_after_s": "0.5", **fields}.items():
        box.get_by_label(name, exact=True).fill(value)
    box.get_by_role("button", name="Inject it here").click()


def _loop(visit: Visit, thing: str, state: str) -> None:
    """Wait until the alarm of a device is in this state, on the page of loops."""
    visit.go("loop")
    row = visit.page.get_by_role("row").filter(has_text=thing)
    expect(row.get_by_role("cell", name=state, exact=True)).to_be_visible()


def test_the_link_leads_to_the_fleet_and_is_good_once(run: Command, visit: Visit, page: Page, browser: Browser) -> None:
    expect(page).to_have_url(f"{visit.url}/")
    expect(page.locator(".tiles div").filter(has_text="Devices online").locator("dd").first).to_have_text("12")
    expect(page.get_by_text("A fleet to be broken by hand")).to_be_visible()
    expect(page.locator("#link-text")).to_have_text("healthy")
    stranger = Visit(browser, run.says("watch it at").split()[-1])
    expect(stranger.page.locator("body")).to_contain_text("used already")
    stranger.page.goto(visit.url)
    stranger.page.get_by_label("Token").fill("no token")
    stranger.page.get_by_role("button", name="Sign in").click()
    expect(stranger.page.get_by_role("alert")).to_have_text("token: is wrong")
    stranger.page.close()


def test_a_whole_loop_from_a_broken_fan_to_a_closed_alarm(visit: Visit, page: Page) -> None:
    _break(visit, "Vehicle-VIN-001", fixed_in="1.1.0")
    box = visit.card("Try it")
    expect(box.get_by_label("The step as YAML")).to_contain_text("kind: inject")
    expect(box.get_by_role("listitem")).to_have_text("fleet: inject hang into Vehicle-VIN-001")
    expect(page.locator(".facts")).to_contain_text("broken on purpose: hang")
    expect(page.locator(".title")).to_contain_text("in alarm")
    _loop(visit, "Vehicle-VIN-001", "closed")
    row = page.get_by_role("row").filter(has_text="Vehicle-VIN-001")
    stages = [cell.inner_text().splitlines() for cell in row.locator(".stage").all()]
    assert len(stages) == 9
    assert all(re.match(r"\d\d:\d\d:\d\d|\+[\d.]+ (ms|s)", stage[0]) for stage in stages), stages
    assert [stages[i][1] for i in (0, 2, 3, 4, 6, 8)] == ["hang", "restart-fan", "done", "1.1.0", "done", "closed"]

    row.get_by_role("link").click()
    way = page.locator("table.way")
    for step in ("fault injected", "alarm raised", "command sent", "device acted", "job created", "downloaded",
                 "verified", "job succeeded", "alarm closed"):  # fmt: skip
        expect(way.get_by_role("rowheader").filter(has_text=step).first).to_be_visible()

    visit.go("jobs")
    job = visit.card("Rollouts").get_by_role("row").filter(has_text="SedanVehicle 1.1.0")
    expect(job).to_contain_text("1 of 1")
    job.get_by_role("link").click()
    expect(page.get_by_role("row", name="Vehicle-VIN-001 succeeded")).to_be_visible()
    visit.go("device/Vehicle-VIN-001")
    expect(visit.card("Versions")).to_contain_text("1.1.0")
    expect(visit.card("Shadow").get_by_role("row").filter(has_text="action")).to_contain_text("name: restart-fan")
    expect(visit.card("Alarms").get_by_role("row").filter(has_text="engine-overheat")).to_contain_text("closed")
    expect(page.get_by_role("img", name=re.compile("^engine_temp_c: now .* °C, between"))).to_be_visible()


def test_the_first_click_on_the_overview_breaks_a_device_that_can_have_it(visit: Visit, page: Page) -> None:
    visit.go("overview")
    box = visit.card("Try it on the fleet")
    box.get_by_text("More").click()
    box.get_by_label("at", exact=True).fill("1")  # a fan at its most: no engine overheats
    box.get_by_label("How many").fill("10")
    box.get_by_text("The call this makes").click()
    expect(box.get_by_label("The call", exact=True)).not_to_contain_text("fire-sensor")
    box.get_by_role("button", name="Inject it").click()
    expect(box.get_by_label("The step as YAML")).to_contain_text("vehicle-sedan")
    box.get_by_role("button", name="Clear faults").click()
    box.get_by_role("button", name="Clear them").click()
    expect(box.get_by_role("listitem").first).to_contain_text("fleet: clear")


def test_what_stands_between_backticks_is_code_and_never_html(visit: Visit, page: Page) -> None:
    shown = page.evaluate(
        "import(new URL('dom.js', document.baseURI))"
        ".then(({h, coded}) => h('p', {}, coded('<b>holds `at<i>`.')).innerHTML)"
    )
    assert shown == "&lt;b&gt;holds <code>at&lt;i&gt;</code>."


def test_what_the_backend_tells_stays_among_what_happens(visit: Visit, page: Page) -> None:
    visit.go("overview")
    page.reload()
    feed = visit.card("What happens")
    expect(feed.get_by_text("alarm raised").first).to_be_visible()
    times = feed.locator("time").all_inner_texts()
    assert times == sorted(times, reverse=True)


def test_what_is_wrong_with_a_step_is_a_line_each(visit: Visit, page: Page) -> None:
    visit.go("overview")
    box = visit.card("Try it on the fleet")
    box.get_by_label("Fault", exact=True).select_option("swapped")
    box.get_by_label("signal", exact=True).fill("nobody")
    box.get_by_role("button", name="Inject it").click()
    lines = box.get_by_role("alert").get_by_role("paragraph")
    expect(lines.nth(1)).to_contain_text("cannot have the fault 'swapped'")
    assert all(line.startswith("profile '") for line in lines.all_inner_texts())
    visit.wrong.clear()  # the browser says of each refused request that it was refused


def test_what_is_not_there_is_said_to_be_not_there(visit: Visit, page: Page) -> None:
    visit.go("overview")
    page.goto(f"{visit.url}/#/nothing")
    expect(page.get_by_role("heading", level=1)).to_have_text("No such page")
    visit.go("device/nope")
    expect(page.locator(".facts")).to_have_text("There is no device of this name.")
    expect(page.locator(".title .badge:visible")).to_have_count(0)
    visit.go("overview")
    visit.wrong.clear()  # the browser says of each refused request that it was refused


def test_an_engineer_is_sent_and_seen_to_the_end(visit: Visit, page: Page) -> None:
    _break(visit, "Vehicle-VIN-007", fixed_in="")
    _loop(visit, "Vehicle-VIN-007", "escalated")
    expect(page.get_by_role("row").filter(has_text="Vehicle-VIN-007")).to_contain_text("engineer asked for")
    visit.go("overview")
    tile = page.locator(".tiles div").filter(has_text="Engineers")
    expect(tile).to_contain_text("Engineers needed")
    visit.go("dispatches")
    row = page.get_by_role("row").filter(has_text="Vehicle-VIN-007")
    row.get_by_role("button", name="Assign").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    visit.go("overview")
    expect(page.get_by_role("dialog")).to_have_count(0)
    visit.go("dispatches")
    row = page.get_by_role("row").filter(has_text="Vehicle-VIN-007")
    for press, state in (("Assign", "assigned"), ("Set off", "on the way"), ("Arrived", "on site")):
        row.get_by_role("button", name=press).click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Who").fill("Kim")
        dialog.get_by_label("Note").fill(EVIL)
        dialog.get_by_role("button", name="Say so").click()
        expect(row).to_contain_text(state)
    row.get_by_role("link").click()
    steps = page.locator(".steps")
    expect(steps.get_by_role("listitem").filter(has_text="on site")).to_contain_text(f"Kim, {EVIL}")
    expect(steps.locator("[aria-current]")).to_contain_text("on site")
    visit.go("notifications")
    page.get_by_label("Channel").select_option("email")
    expect(page.get_by_role("row").filter(has_text="a field engineer is needed").first).to_contain_text("e-mail")
    visit.go("device/Vehicle-VIN-007")
    expect(visit.card("What to do")).to_contain_text("see to the dispatch")
    page.get_by_role("button", name="Clear faults").click()
    page.get_by_role("button", name="Clear them here").click()
    expect(page.locator(".facts")).not_to_contain_text("broken on purpose")


def test_commands_firmware_and_jobs_by_their_buttons(visit: Visit, page: Page) -> None:
    visit.go("device/Vehicle-VIN-002")
    box = visit.card("Try it")
    box.get_by_role("button", name="Send a command").click()
    box.get_by_text("The call this makes").click()
    expect(box.get_by_label("The call", exact=True)).to_contain_text('"action": { "name": "restart-fan"')
    box.get_by_role("button", name="Send it").click()
    expect(box.get_by_role("listitem")).to_contain_text("iot-data: UpdateThingShadow Vehicle-VIN-002")
    expect(visit.card("What happened to it")).to_contain_text("device acted")
    box.get_by_role("button", name="Send a command").click()
    box.get_by_label("By").select_option("control")
    box.get_by_label("Command").fill("x" * 65)
    box.get_by_role("button", name="Send it").click()
    expect(box.get_by_role("alert")).to_contain_text("must have at most 64 characters")
    visit.wrong.clear()  # the browser says of each refused request that it was refused

    visit.go("jobs")
    box = visit.card("Try it")
    box.get_by_role("button", name="Publish firmware").click()
    box.get_by_label("Version").fill("1.2.0")
    box.get_by_role("button", name="Publish it").click()
    expect(box.get_by_role("listitem")).to_contain_text("CreatePackageVersion 1.2.0")
    box.get_by_role("button", name="Create a job").click()
    box.get_by_label("Version").select_option("1.1.0")
    box.get_by_label("Devices of profile").select_option("fire-sensor")
    box.get_by_label("How many").fill("")
    box.get_by_role("button", name="Create the job").click()
    job = visit.card("Rollouts").get_by_role("row").filter(has_text="FireSensor 1.1.0")
    expect(job).to_contain_text("an operator")
    expect(job).to_contain_text("2 of 2")
    version = visit.card("Firmware in the fleet").get_by_role("row").filter(has_text="FireSensor")
    expect(version).to_have_count(1)
    expect(version).to_contain_text("1.1.0")


def test_a_sensor_at_risk_says_what_to_do(visit: Visit, page: Page) -> None:
    visit.go("device/device-001")
    box = visit.card("Try it")
    for signal_, by in (("sensorTemp", "60"), ("co", "30"), ("zct", "20")):
        box.get_by_label("Fault", exact=True).select_option("bias")
        box.get_by_label("signal", exact=True).fill(signal_)
        box.get_by_label("by", exact=True).fill(by)
        box.get_by_label("ramp_s", exact=True).fill("0")
        box.get_by_role("button", name="Inject it here").click()
        expect(box.get_by_label("The step as YAML")).to_contain_text(signal_)
    expect(visit.card("What to do")).to_contain_text("Cool and ventilate")
    expect(page.locator(".title")).to_contain_text("fire risk")
    visit.go("overview")
    risk = visit.card("Fire risk")
    expect(risk).to_be_visible()
    expect(risk.get_by_role("cell").first).to_have_text("1")  # at no risk


def test_the_map_has_every_vehicle_and_moves_by_keyboard(visit: Visit, page: Page) -> None:
    visit.go("map")
    table = visit.card("Vehicles")
    expect(table.get_by_role("row")).to_have_count(11)
    for vehicles in ("SedanVehicle", "SUVVehicle", "TruckVehicle"):
        expect(page.get_by_role("button", name=vehicles)).to_be_visible()
    canvas = page.locator("canvas.map")
    canvas.focus()
    before = _picture(page)
    page.keyboard.press("+")
    visit.shows("(before) => document.querySelector('canvas.map').toDataURL() !== before", before)
    table.get_by_role("button", name="Vehicle-VIN-003").click()
    expect(page.locator(".picked")).to_contain_text("Vehicle-VIN-003")
    page.locator(".picked").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Vehicle-VIN-003")


def _picture(page: Page) -> str:
    return str(page.evaluate("document.querySelector('canvas.map').toDataURL()"))


@pytest.mark.parametrize("view", [*VIEWS, "device/Vehicle-VIN-001"])
def test_a_view_is_for_everybody(visit: Visit, page: Page, view: str) -> None:
    visit.go(view)
    visit.shows("() => document.querySelector('main').childElementCount > 0")
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    assert page.evaluate("[...document.querySelectorAll('table')].every((table) => table.caption?.textContent)")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, textarea')].filter((one) => !one.labels.length).length"
    )
    assert unnamed == 0
    page.reload()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    visit.go(view)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert page.evaluate("document.getAnimations().length") == 0
    page.set_viewport_size({"width": 320, "height": 640})
    assert visit.fits, f"{view} on a phone"
    page.set_viewport_size({"width": 1360, "height": 900})
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")


def test_the_end_of_the_run_is_seen(run: Command, visit: Visit) -> None:
    visit.go("overview")
    run.process.send_signal(signal.SIGTERM)
    expect(visit.page.locator("#link-text")).to_have_text("no connection")
    assert run.wait() in (0, 1, 130)

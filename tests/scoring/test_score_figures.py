"""The figures, by hand and by the slow way; the bounds of the contracts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.scoring.bounds import Bound, bounds, measures, passed
from simulator.scoring.figures import BINS, Figures, figures
from simulator.scoring.known import Known

MINUTE_MS = 60_000


def known(
    scores: list[float], labels: list[int], fires: list[int] | None = None, leads: list[float] | None = None,
    device: list[int] | None = None, at_ms: list[int] | None = None,
) -> Known:  # fmt: skip
    """Records of one sensor, a minute apart."""
    count = len(scores)
    of = np.array(device or [0] * count, np.int32)
    return Known(
        [f"device-{n}" for n in range(max(of.tolist(), default=0) + 1)], of,
        np.array(at_ms or [MINUTE_MS * n for n in range(count)], np.int64), np.array(labels, np.bool_),
        np.array(fires or [0] * count, np.bool_), np.array(leads or [np.nan] * count, np.float32),
        np.array(scores, np.float32),
    )  # fmt: skip


def test_records_by_hand() -> None:
    found = figures(known([0.9, 0.7, 0.2, 0.6, 0.1], [1, 1, 1, 0, 0]), 0.6)
    assert (found.true_positive, found.false_positive, found.false_negative, found.true_negative) == (2, 1, 1, 1)
    assert found.precision == found.recall == found.f1 == pytest.approx(2 / 3)
    assert found.accuracy == pytest.approx(0.6)
    assert found.auc == pytest.approx(5 / 6)
    assert found.false_positive_rate == 0.5


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=60).filter(
        lambda of: len({label for _, label in of}) == 2
    )
)
def test_auc_is_the_share_of_pairs_in_order(of: list[tuple[int, bool]]) -> None:
    found = figures(known([score / 20 for score, _ in of], [int(label) for _, label in of]), 0.5)
    pairs = [(p > n) + 0.5 * (p == n) for p, is_p in of if is_p for n, is_n in of if not is_n]
    assert found.auc == pytest.approx(sum(pairs) / len(pairs))


def test_nothing_to_measure_is_not_nothing() -> None:
    found = figures(known([0.1, 0.2], [0, 0]), 0.6)
    assert (found.precision, found.recall, found.f1, found.auc) == (None, None, None, None)
    assert (found.fire_recall, found.alert_precision, found.lead_p50_s) == (None, None, None)
    assert not passed(bounds(found, "records"))


def test_what_has_no_score_counts_as_nought() -> None:
    found = figures(known([float("nan"), 0.9], [1, 1]), 0.6)
    assert (found.without_score, found.recall, found.rows) == (1, 0.5, 2)


def test_a_threshold_is_met_exactly_where_it_stands() -> None:
    assert figures(known([0.6, 0.59994], [1, 1]), 0.6).true_positive == 1


def test_alerts_ten_minutes_apart_are_two() -> None:
    scores = [0.0] * 40
    for minute in (5, 6, 14, 30):
        scores[minute] = 0.9
    found = figures(known(scores, [0] * 40, [0] * 40), 0.6)
    assert (found.alerts, found.false_alerts, found.devices_falsely_alarmed) == (2, 2, 1)
    assert found.false_per_device_day == pytest.approx(2 / (39 / 1440))


def test_a_fire_is_noticed_by_an_alert_in_it_and_an_alert_is_true_by_a_fire() -> None:
    fires = [0] * 120
    fires[10:20] = [1] * 10  # noticed
    fires[60:70] = [1] * 10  # missed
    scores = [0.1] * 120
    scores[15] = 0.8
    scores[65] = 0.59
    scores[100] = 0.9  # nothing burns
    found = figures(known(scores, [0] * 120, fires), 0.6)
    assert (found.fires, found.fires_noticed, found.alerts, found.false_alerts) == (2, 1, 2, 1)
    [missed] = found.missed
    assert (missed.thing, missed.begin_ms, missed.why) == ("device-0", 60 * MINUTE_MS, "its highest score was 0.59")
    assert (found.fire_recall, found.alert_precision) == (0.5, 0.5)


def test_an_alert_that_the_label_likes_is_false_without_a_fire() -> None:
    assert figures(known([0.9], [1], [0], [0.0]), 0.6).false_alerts == 1


def test_sensors_do_not_share_an_alert() -> None:
    both = known([0.9, 0.9], [0, 0], [1, 0], device=[0, 1], at_ms=[0, 1000])
    found = figures(both, 0.6)
    assert (found.alerts, found.false_alerts, found.devices) == (2, 1, 2)


def test_lead_time_is_from_the_first_call_to_the_onset() -> None:
    leads = [float("nan")] * 100
    for onset in (30, 80):
        for minute in range(onset - 10, onset + 5):
            leads[minute] = max(0.0, 60.0 * (onset - minute))
    scores = [0.0] * 100
    scores[26] = scores[27] = 0.9  # four minutes ahead
    scores[83] = 0.9  # three late
    found = figures(known(scores, [0] * 100, leads=leads), 0.6)
    assert (found.onsets, found.onsets_foreseen, found.lead_s) == (2, 1, [240.0, -180.0])
    assert (found.lead_p50_s, found.lead_mean_s) == (30.0, 30.0)


def test_calibration_by_hand() -> None:
    found = figures(known([0.05] * 10 + [0.95] * 10, [0] * 9 + [1] + [1] * 9 + [0]), 0.6)
    assert len(found.bins) == BINS
    assert [one.records for one in found.bins] == [10, *[0] * 8, 10]
    assert found.bins[0].score == pytest.approx(0.05)
    assert found.bins[0].positive == pytest.approx(0.1)
    assert found.calibration_error == pytest.approx(0.05)
    assert found.brier == pytest.approx((9 * 0.05**2 + 0.95**2) / 10)
    assert figures(known([1.0], [1]), 0.6).bins[-1].records == 1


@pytest.mark.parametrize(
    ("value", "rises", "state"),
    [
        (0.91, True, "target"), (0.90, True, "minimum"), (0.85, True, "minimum"), (0.849, True, "below"),
        (None, True, "unknown"), (0.01, False, "target"), (0.05, False, "minimum"), (0.10, False, "minimum"),
        (0.11, False, "below"),
    ],
)  # fmt: skip
def test_minimum_and_target(value: float | None, rises: bool, state: str) -> None:
    bound = Bound("x", value, 0.90, 0.85) if rises else Bound("x", value, 0.05, 0.10, rises=False)
    assert bound.state == state


def test_bounds_are_those_of_the_contracts() -> None:
    assert [(b.name, b.target, b.minimum) for b in bounds(Figures(0.6), "alerts")] == [
        ("accuracy", 0.90, 0.85), ("precision", 0.85, 0.80), ("recall", 0.90, 0.85), ("false alarms", 0.05, 0.10),
    ]  # fmt: skip
    assert passed(measures(0.80, 0.85, 0.10))
    assert not passed(measures(0.79, 0.85, 0.10))

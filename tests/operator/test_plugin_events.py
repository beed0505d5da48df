"""`kubectl controllable events`: what was told, by time, the same thing once."""

import io
from datetime import UTC, datetime
from typing import Any

from controllable_operator.plugin import events
from controllable_operator.plugin.view import age, emit
from plugin_objects import event, model_manifest

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
MODEL = model_manifest("nano")
UID = MODEL["metadata"]["uid"]


def told(
    reason: str, last: str, message: str = "it did", count: int = 1, kind: str = "Normal"
) -> dict[str, Any]:
    return event(MODEL, reason, message, f"2026-01-01T{last}Z", count, kind)


def test_events_come_by_time_the_newest_last() -> None:
    found = events.build([told("Later", "11:59:00"), told("Earlier", "11:00:00")], {UID})
    assert [entry["reason"] for entry in found] == ["Earlier", "Later"]


def test_the_same_said_twice_is_counted() -> None:
    again = [told("BackOff", "11:00:00", count=2), told("BackOff", "11:30:00", count=3)]
    (entry,) = events.build(again, {UID})
    assert (entry["count"], entry["first"], entry["last"]) == (
        5,
        "2026-01-01T11:00:00Z",
        "2026-01-01T11:30:00Z",
    )


def test_events_of_others_are_not_told() -> None:
    assert events.build([told("Theirs", "11:00:00")], {"another"}) == []


def test_events_in_the_newer_form_are_read_too() -> None:
    newer = told("Scheduled", "11:00:00") | {
        "count": None,
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": "2026-01-01T11:10:00.123456Z",
        "series": {"count": 4, "lastObservedTime": "2026-01-01T11:20:00.123456Z"},
    }
    (entry,) = events.build([newer], {UID})
    assert (entry["count"], entry["last"]) == (4, "2026-01-01T11:20:00.123456Z")


def test_what_a_person_sees() -> None:
    found = events.build(
        [told("Serving", "11:50:30"), told("BackOff", "11:59:30", "no\nluck", 7, "Warning")], {UID}
    )
    stream = io.StringIO()
    emit(events.render(found, NOW), stream)
    assert stream.getvalue() == (
        "LAST    COUNT   TYPE      REASON    OBJECT                   MESSAGE\n"
        "9m30s           Normal    Serving   controllablemodel/nano   it did\n"
        "30s     ×7      Warning   BackOff   controllablemodel/nano   no luck\n"
    )


def test_ages_are_as_short_as_kubectls() -> None:
    moments = {"2026-01-01T11:58:01Z": "119s", "2026-01-01T10:00:00Z": "120m", "2025-12-01T12:00:00Z": "31d"}
    assert {moment: age(moment, NOW) for moment in moments} == moments
    assert age("2026-01-01T12:00:05Z", NOW) == "0s"  # clocks differ

"""What became of an update whose answer never came."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Fact, Kind, Life, Observed, Ref, Side
from connector.sync.recovery import Fate, fate_of_update

REF = Ref("crm", "Contact", "003")


def fate(sent, before, now, *, ours=False, life=Life.LIVE):
    known = None if before is None else Fact(REF, Side.CRM, Kind.PERSON, before, "1")
    at = datetime(2026, 3, 2, tzinfo=UTC)
    return fate_of_update(sent, known, Observed(REF, Kind.PERSON, now, "2", at, ours=ours, life=life))


CASES = [
    ("what we sent stands there", {"P": "b"}, {"P": "a"}, {"P": "b"}, {}, Fate.LANDED),
    ("what stood there before still does", {"P": "b"}, {"P": "a"}, {"P": "a"}, {}, Fate.NEVER_SENT),
    (
        "another field changed, ours did not",
        {"P": "b"},
        {"P": "a", "C": "x"},
        {"P": "a", "C": "y"},
        {},
        Fate.NEVER_SENT,
    ),
    ("somebody wrote the field after us", {"P": "b"}, {"P": "a"}, {"P": "c"}, {}, Fate.OVERTAKEN),
    (
        "our own version shows another value, nobody wrote after us",
        {"P": "+31 6"},
        {"P": "a"},
        {"P": "0031-6"},
        {"ours": True},
        Fate.NEVER_SENT,
    ),
    ("what we sent stands there without the spaces around it", {"P": "b "}, {"P": "a"}, {"P": "b"}, {}, Fate.LANDED),
    ("the empty text we sent is shown as none", {"P": ""}, {"P": "a"}, {"P": None}, {}, Fate.LANDED),
    (
        "a person wrote one of two fields",
        {"P": "b", "C": "y"},
        {"P": "a", "C": "x"},
        {"P": "b", "C": "z"},
        {},
        Fate.OVERTAKEN,
    ),
    ("the record is gone", {"P": "b"}, {"P": "a"}, {}, {"life": Life.GONE}, Fate.OVERTAKEN),
    ("the record was merged", {"P": "b"}, {"P": "a"}, {}, {"life": Life.MERGED}, Fate.OVERTAKEN),
    ("a field that was empty is empty", {"P": "b"}, {}, {"P": None}, {}, Fate.NEVER_SENT),
    ("nothing is known of the time before", {"P": "b"}, None, {"P": "c"}, {}, Fate.OVERTAKEN),
]


@pytest.mark.parametrize(
    ("sent", "before", "now", "how", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_fate(sent, before, now, how, expected):
    assert fate(sent, before, now, **how) is expected


values = st.dictionaries(st.sampled_from(["P", "C"]), st.sampled_from(["a", "b", None]), min_size=1)


@given(values, values, values)
def test_a_write_is_repeated_only_over_what_stood_there_before(sent, before, now):
    if fate(sent, before, now) is Fate.NEVER_SENT:
        assert all(before.get(name) == now[name] for name in sent if name in now)

"""Who is it? Weights, the margin to the runner-up, what speaks against, and the laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.adapters.base import Lookup
from connector.mapping.model import Evidence, Match, Through
from connector.model import Ref
from connector.sync.identity import Answer, Candidate, judge, lookups, score, shared_evidence

THROUGH = Through(object="Identity", field="Key", person=("Contact",))
MATCH = Match(
    evidence=(
        Evidence(name="known identity", platform="identity_keys", through=THROUGH, weight=100),
        Evidence(name="email", platform="email", crm=("Email", "Email2"), compare="email", weight=80, against=20),
        Evidence(name="phone", platform="phone", crm=("Phone",), compare="phone", weight=80, against=10),
        Evidence(name="handle", platform="handle", crm=("Handle",), compare="handle", weight=20),
        Evidence(name="name", platform="name", crm=("Name",), compare="name", weight=15, search=False),
    )
)


def ref(id_):
    return Ref("crm", "Contact", id_)


def candidate(id_="1", known_by=(), **fields):
    return Candidate(ref(id_), fields, frozenset(known_by))


def verdict(person, *candidates, match=MATCH, region="NL"):
    return judge(person, candidates, match, region)


ANN = {"name": "Ann Vos", "email": "ann@x.example", "phone": "+31612345678", "handle": "annvos"}
VERDICTS = [
    ("nobody was found", ANN, [], Answer.NOBODY, 0),
    ("an e-mail address links", {"email": "ann@x.example"}, [{"Email": "ann@x.example"}], Answer.LINK, 80),
    (
        "a second e-mail field counts as well",
        {"email": "ann@x.example"},
        [{"Email2": "ann@x.example"}],
        Answer.LINK,
        80,
    ),
    (
        "e-mail addresses compare without case",
        {"email": "Ann@X.example"},
        [{"Email": "ANN@x.example"}],
        Answer.LINK,
        80,
    ),
    (
        "a phone number links however it is written",
        {"phone": "+31612345678"},
        [{"Phone": "06 1234-5678"}],
        Answer.LINK,
        80,
    ),
    (
        "a known identity links",
        {"identity_keys": ["instagram:7"]},
        [{"known_by": ["known identity"]}],
        Answer.LINK,
        100,
    ),
    ("a name alone is nobody", {"name": "Ann Vos"}, [{"Name": "Ann Vos"}], Answer.NOBODY, 15),
    ("a handle and a name ask a person", ANN, [{"Handle": "@AnnVos", "Name": "ann vos"}], Answer.HOLD, 35),
    ("points are capped at one hundred", ANN, [{"Email": "ann@x.example", "Phone": "0612345678"}], Answer.LINK, 100),
    (
        "a phone against an e-mail asks a person",
        ANN,
        [{"Email": "ann@x.example", "Phone": "0201234567"}],
        Answer.HOLD,
        70,
    ),
    ("a blank speaks neither for nor against", ANN, [{"Email": "ann@x.example", "Phone": ""}], Answer.LINK, 80),
    ("two that fit alike ask a person", ANN, [{"Email": "ann@x.example"}, {"Email": "ann@x.example"}], Answer.HOLD, 80),
    (
        "a runner-up within the margin asks a person",
        ANN,
        [{"Email": "ann@x.example", "Name": "Ann Vos"}, {"Email": "ann@x.example"}],
        Answer.HOLD,
        95,
    ),
    (
        "a runner-up at the margin does not matter",
        ANN,
        [{"Email": "ann@x.example", "Handle": "annvos"}, {"Email": "ann@x.example"}],
        Answer.LINK,
        100,
    ),
]


@pytest.mark.parametrize(
    ("person", "candidates", "answer", "points"), [row[1:] for row in VERDICTS], ids=[row[0] for row in VERDICTS]
)
def test_verdict(person, candidates, answer, points):
    found = verdict(person, *(candidate(str(n), **one) for n, one in enumerate(candidates)))
    assert (found.answer, found.scored[0].points if found.scored else 0) == (answer, points)


def test_every_candidate_is_kept_with_its_reasons_best_first():
    found = verdict(ANN, candidate("1", Name="Ann Vos"), candidate("2", Email="ann@x.example", Phone="0201234567"))
    assert [(one.ref.id, one.points, one.reasons) for one in found.scored] == [
        ("2", 70, ("email agrees (+80)", "phone differs (-10)")),
        ("1", 15, ("name agrees (+15)",)),
    ]


def test_a_number_without_prefix_is_one_of_the_mappings_country():
    person = {"phone": "+4930123456"}
    assert verdict(person, candidate(Phone="030 123456"), region="DE").answer is Answer.LINK
    assert verdict(person, candidate(Phone="030 123456"), region="NL").answer is Answer.NOBODY


def test_what_is_no_phone_number_never_agrees():
    assert score({"phone": "call me"}, candidate(Phone="call me"), MATCH.evidence, "NL").points == 0


def test_lookups_ask_for_every_value_object_and_field_but_not_for_evidence_that_is_not_searched():
    person = {"identity_keys": ["instagram:7", "whatsapp:9"], "email": "ann@x.example", "name": "Ann"}
    asked = [lookup for _, lookup in lookups(person, MATCH, ["Contact", "Lead"])]
    assert asked == [
        Lookup("Identity", "Key", "instagram:7"),
        Lookup("Identity", "Key", "whatsapp:9"),
        *(Lookup(object_, field, "ann@x.example") for object_ in ("Contact", "Lead") for field in ("Email", "Email2")),
    ]


def test_phone_numbers_are_looked_up_as_phone_numbers():
    assert [one.how for _, one in lookups({"phone": "+31612345678"}, MATCH, ["Contact"])] == ["phone"]


def test_two_persons_of_one_batch_share_what_links_by_itself():
    one = shared_evidence({"email": "ANN@x.example", "handle": "ann", "name": "Ann"}, MATCH, "NL")
    two = shared_evidence({"email": "ann@x.example", "handle": "ann", "name": "Ann"}, MATCH, "NL")
    assert one == two == {("email", "ann@x.example")}


# ---- laws

emails = st.sampled_from([None, "", "ann@x.example", "bob@x.example"])
phones = st.sampled_from([None, "+31612345678", "06 12345678", "020 1234567"])
people = st.fixed_dictionaries(
    {
        "email": emails,
        "phone": phones,
        "handle": st.sampled_from([None, "ann"]),
        "name": st.sampled_from(["Ann", "Bob"]),
    }
)
found_ones = st.lists(
    st.fixed_dictionaries(
        {"Email": emails, "Phone": phones, "Handle": st.sampled_from([None, "@Ann"]), "Name": st.just("Ann")}
    ),
    max_size=4,
).map(lambda rows: [candidate(str(n), **row) for n, row in enumerate(rows)])


@given(people, found_ones, st.randoms())
def test_the_order_of_the_candidates_does_not_matter(person, candidates, random):
    shuffled = random.sample(candidates, len(candidates))
    assert verdict(person, *candidates) == verdict(person, *shuffled)


@given(people, found_ones)
def test_a_link_is_strong_enough_and_clear_of_the_runner_up(person, candidates):
    found = verdict(person, *candidates)
    if found.answer is Answer.LINK:
        assert found.best.points >= MATCH.link_at
        assert all(found.best.points - other.points >= MATCH.margin for other in found.scored[1:])


@given(st.sampled_from(["Ann", "Bob"]), found_ones)
def test_a_name_alone_never_links_nor_asks(name, candidates):
    assert verdict({"name": name}, *candidates).answer is Answer.NOBODY


@given(people, found_ones)
def test_points_are_percent(person, candidates):
    assert all(0 < one.points <= 100 for one in verdict(person, *candidates).scored)

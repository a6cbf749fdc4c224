"""Rows around a plan, made by hand: what the store would have loaded, in a few words per record."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from connector.mapping.compiled import Compiled, Context, compile_mapping
from connector.mapping.load import parse_mapping
from connector.model import Fact, Hold, HoldType, Kind, Life, Link, Ref, Side, Snapshot, State
from connector.store.entries import ConversationStats, Entries
from connector.sync.identity import Candidate
from connector.sync.pairs import canonical
from connector.sync.plan import make_plan
from connector.sync.view import View

TEXT = (Path(__file__).parents[1] / "properties" / "mapping.yaml").read_text()
OBJECTS = {"Contact": Kind.PERSON, "Lead": Kind.PERSON, "Identity": Kind.IDENTITY, "Thread": Kind.CONVERSATION}
OBJECTS |= {"Task": Kind.MESSAGE, "Outbound": Kind.REPLY, "res.partner": Kind.PERSON, "mail.message": Kind.REPLY}
CHATTER = (Path(__file__).parents[2] / "mappings" / "chatwoot-odoo.yaml").read_text()


def compiled(**changes: str) -> Compiled:
    """The mapping of the property tests; `changes` replaces text in it."""
    text = TEXT
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return compile_mapping(parse_mapping(text), Context(connection="main"))


@dataclass
class Rows:
    """Collects facts, links and holds, and plans some of them."""

    mapping: Compiled
    facts: dict[Ref, Fact] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    snapshots: dict[int, dict[Side, Snapshot]] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    settled: list[Hold] = field(default_factory=list)
    candidates: dict[Ref, list[Candidate]] = field(default_factory=dict)
    stats: dict[Ref, ConversationStats] = field(default_factory=dict)
    busy: set[Ref] = field(default_factory=set)

    def put(self, side: Side, object_: str, id_: str, parent: Ref | None = None, **fields: Any) -> Ref:
        """A record; `life`, `merged_into`, `ours`, `edited`, `token` are those of the fact, the rest are its fields."""
        own = {name: fields.pop(name) for name in ("life", "merged_into", "ours", "edited", "token") if name in fields}
        kind = Kind(object_) if side is Side.PLATFORM else OBJECTS[object_]
        ref = Ref(side.value, object_, id_)
        state = State.OPEN if (side, kind) == (Side.PLATFORM, Kind.MESSAGE) else None
        self.facts[ref] = Fact(ref, side, kind, fields, "v1", parent=parent, state=state, **own)
        return ref

    def person(self, id_: str = "p1", **fields: Any) -> Ref:
        """A person whom the CRM does not know, looked up and not found."""
        ref = self.put(Side.PLATFORM, "person", id_, **{"name": "Ann", **fields})
        self.candidates.setdefault(ref, [])
        return ref

    def conversation(self, person: Ref, id_: str = "t1", **fields: Any) -> Ref:
        return self.put(
            Side.PLATFORM, "conversation", id_, person, **{"network": "instagram", "status": "open", **fields}
        )

    def message(self, conversation: Ref, id_: str = "m1", **fields: Any) -> Ref:
        return self.put(
            Side.PLATFORM, "message", id_, conversation, **{"direction": "inbound", "text": "hello", **fields}
        )

    def crm(self, object_: str, id_: str, **fields: Any) -> Ref:
        return self.put(Side.CRM, object_, id_, **fields)

    def link(self, kind: Kind, platform: Ref, crm: Ref, *, active: bool = True, agreed: bool = True) -> Link:
        """`agreed`: both sides have shown what they show now when they last agreed."""
        link = Link(len(self.links) + 1, kind, platform, crm, active, ended=None if active else "deleted in the CRM")
        self.links.append(link)
        if active and agreed:
            self.agree(link)
        return link

    def agree(self, link: Link, unread: tuple[str, ...] = ()) -> None:
        rules = self.mapping.kind(link.kind)
        assert rules is not None
        self.snapshots[link.id] = {
            side: Snapshot(
                link=link.id,
                side=side,
                fields=canonical(rules.fields, side, self.facts[ref].fields, {}),
                unread=unread if side is Side.CRM else (),
            )
            for side, ref in ((Side.PLATFORM, link.platform), (Side.CRM, link.crm))
            if ref in self.facts
        }

    def edit(self, ref: Ref, **fields: Any) -> None:
        own = {name: fields.pop(name) for name in ("life", "merged_into", "ours", "edited", "token") if name in fields}
        self.facts[ref] = replace(self.facts[ref], fields={**self.facts[ref].fields, **fields}, version="v2", **own)

    def hold(self, type_: HoldType, subject: Ref, choice: str | None = None, name: str = "", **details: Any) -> Hold:
        made = Hold(
            len(self.holds) + len(self.settled) + 1, type_, subject, "?", details, field=name, choice=choice, by="kim"
        )
        (self.settled if choice else self.holds).append(made)
        return made

    def plan(self, *work: Ref) -> Entries:
        view = View(
            facts=self.facts,
            links=self.links,
            snapshots=self.snapshots,
            busy=frozenset(self.busy),
            coming=frozenset(self.busy),
            holds=self.holds,
            settled=self.settled,
            stats=self.stats,
            candidates=self.candidates,
            unique=frozenset({"email", "phone"}),
        )
        return make_plan(view, [self.facts[ref] for ref in work], self.mapping, "main")


@pytest.fixture(scope="session")
def mapping() -> Compiled:
    return compiled()


@pytest.fixture
def rows(mapping: Compiled) -> Rows:
    return Rows(mapping)


@pytest.fixture
def rows_with() -> Callable[..., Rows]:
    """Rows under a mapping in which some text was replaced."""
    return lambda changes: Rows(compiled(**changes))


@pytest.fixture
def chatter() -> Callable[..., Rows]:
    """Rows under the mapping of a CRM whose replies are typed in a chatter; `conversation` replaces how they are placed."""

    def made(conversation: str = "{newest_open: res_id}") -> Rows:
        text = CHATTER.replace("{newest_open: res_id}", conversation)
        return Rows(compile_mapping(parse_mapping(text), Context(connection="main")))

    return made


@pytest.fixture
def linked(rows: Rows) -> Rows:
    """Ann, her contact, one conversation with its thread; both sides agree."""
    person = rows.person(email="ann@x.example", city="Delft", tags=["vip"])
    contact = rows.crm("Contact", "c1", Name="Ann", Email="ann@x.example", City="Delft", Labels="vip")
    rows.link(Kind.PERSON, person, contact)
    thread = rows.crm("Thread", "h1", Contact="c1", Status="open")
    rows.link(Kind.CONVERSATION, rows.conversation(person), thread)
    return rows


def gone(life: Life = Life.GONE, into: Ref | None = None) -> dict[str, Any]:
    return {"life": life, "merged_into": into}

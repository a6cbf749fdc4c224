"""An office with a fault switch in front of each system: the connector's calls go through it, the people's do not. Its
connector is wired by the config file, as the commands do it; its time passes for both systems and the connector alike."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from faulty import Call, Fault, Faulty
from offices import Office
from ruamel.yaml import YAML

from connector.adapters.chatwoot import Chatwoot
from connector.adapters.salesforce import Salesforce
from connector.adapters.salesforce.tokens import ClientCredentials
from connector.app import App, contacts_by_email, users_by_email
from connector.errors import RemoteError
from connector.mapping.compiled import Context, compile_mapping, reads
from connector.mapping.load import load_mapping
from connector.model import OPEN_INTENTS, Intent, IntentState, Op, Ref
from connector.sandbox.serve import Sandboxes, running
from connector.service.auditing import audit_connection
from connector.store.store import Store
from connector.sync.engine import Engine
from connector.sync.report import Report

ACTIVITY = 2
"""The `message_type` of what Chatwoot itself notes in a conversation."""
INBOXES = [
    {"key": "instagram", "name": "Instagram", "channel_type": "Channel::Instagram"},
    {"key": "whatsapp", "name": "WhatsApp", "channel_type": "Channel::Whatsapp"},
]
LABELS = [{"key": name, "title": name} for name in ("vip", "repair")]
RUNS = 60
"""Runs until quiet at most: each run is one `sync`, which ends early at an error that it cannot wait out."""


class WorldClock:
    """Real time, except that waiting takes none: whoever waits makes time pass at once, for all that `moved` tells. What
    is still under way then comes to its end first, as it would in reality."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.passed = timedelta(0)
        self.before: list[Callable[[], None]] = []
        self.moved: list[Callable[[float], None]] = []

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.passed

    def pass_(self, seconds: float) -> None:
        with self._lock:
            for wait in self.before:
                wait()
            self.passed += timedelta(seconds=seconds)
            for tell in self.moved:
                tell(self.passed.total_seconds())


def is_read(call: Call) -> bool:
    """Whether a call changes nothing in the system: filters and queries are spelled as POST, and so is a login."""
    if call.method == "GET":
        return True
    if call.path.endswith("/composite"):
        subs = json.loads(call.body)["compositeRequest"]
        return all(sub["method"] == "GET" for sub in subs)
    return call.path.endswith("/oauth2/token") or "/filter" in call.path


def is_write(call: Call) -> bool:
    return not is_read(call)


def is_send(call: Call) -> bool:
    return call.method == "POST" and call.path.endswith("/messages")


def by_chance(
    seed: str, share: float, *faults: Fault, of: Callable[[Call], bool] = lambda _call: True
) -> Callable[[Call], Fault | None]:
    """One of so many calls meets a fault, all faults equally often; the same seed spoils the same calls. Chance says
    which call of its few it is and in what order the faults come, never how many there are: a test may count on them."""
    dice, seen = Random(seed), count()
    rounds = (fault for _ in count() for fault in dice.sample(faults, len(faults)))
    marks = ((number + dice.random()) / share for number in count())
    mark = next(marks)

    def meets(call: Call) -> Fault | None:
        nonlocal mark
        if not of(call) or next(seen) < int(mark):
            return None
        mark = next(marks)
        return next(rounds)

    return meets


class Switched(Office):
    """Chatwoot and Salesforce behind their switches. `store_url` is the connector's database."""

    def __init__(self, sandboxes: Sandboxes, store_url: str | None = None) -> None:
        super().__init__(sandboxes)
        self.time = WorldClock()
        self.store_url = store_url or f"sqlite:///{self.directory}/connector.db"
        keys = self.directory / "salesforce-server.pem", self.directory / "salesforce-server-key.pem"
        self.platform_switch = Faulty(sandboxes.chatwoot_url, clock=self.time)
        self.crm_switch = Faulty(sandboxes.salesforce_url, certificate=keys, ca=self.ca, clock=self.time)
        self.switches = (self.platform_switch, self.crm_switch)
        self.time.before = [switch.quiet for switch in self.switches]
        self.time.moved = [
            lambda seconds: self.control("time", offset=seconds),
            lambda seconds: self.crm_control("time", offset_s=seconds),
        ]

    def shut(self) -> None:
        self.close()
        for switch in self.switches:
            switch.close()

    # -- the connector

    def engine(self, **options: Any) -> Engine:
        self.close()
        clock, sleep = self.time, self.time.pass_
        file = load_mapping(self.mapping_file)
        chatwoot = Chatwoot(
            self.platform_switch.url, self.account_id, self._secret("chatwoot-token"), clock=clock, sleep=sleep
        )
        crm = Salesforce(
            self.crm_switch.url,
            ClientCredentials("connector", self._secret("salesforce-client-secret")),
            reads(compile_mapping(file, Context({}, self.name))),
            clock=clock,
            sleep=sleep,
            ca=self.ca,
        )
        users = crm.users()
        self._store = Store.open(self.store_url, clock=clock)
        compiled = compile_mapping(file, Context(users_by_email(users), self.name, contacts_by_email(users)))
        return Engine(
            self.name, self._store.at(self.name), chatwoot, crm, compiled, clock=clock, sleep=sleep, **options
        )

    @contextmanager
    def spoiling(
        self, seed: str, share: float, *faults: Fault, of: Callable[[Call], bool] = lambda _call: True
    ) -> Iterator[None]:
        """Inside, both switches spoil such a share of the connector's calls."""
        with (
            self.platform_switch.meeting(by_chance(f"{seed} platform", share, *faults, of=of)),
            self.crm_switch.meeting(by_chance(f"{seed} crm", share, *faults, of=of)),
        ):
            yield

    def try_to_sync(self, **options: Any) -> Report | None:
        """One run as the command makes it; None where an error ended it. Half a minute later somebody tries again."""
        try:
            report = self.engine(**options).sync()
        except RemoteError:
            report = None
        self.settle()
        if report is None or report.trouble:
            self.time.pass_(30)
        return report

    def sync_to_quiet(self, **options: Any) -> None:
        """Run after run until one has nothing to do and nothing is open."""
        for _ in range(RUNS):
            report = self.try_to_sync(**options)
            if report and not report.trouble and report.planned == report.written == 0 and not self.open_intents():
                return
            if report and self.open_intents():
                self.time.pass_(60)
        raise AssertionError(f"not quiet after {RUNS} runs: {self.open_intents()}")

    def intents(self) -> list[tuple[Intent, Ref | None]]:
        return [one for page in self.ledger.all_intents() for one in page]

    def open_intents(self) -> list[Intent]:
        return [intent for intent, _ in self.intents() if intent.state in OPEN_INTENTS]

    def sends(self) -> dict[Ref, Ref]:
        """The journal's word on replies: the message that each CRM record became."""
        sends = [(intent, made) for intent, made in self.intents() if intent.action.op is Op.SEND]
        assert all(intent.state is IntentState.DONE and made for intent, made in sends), sends
        assert len({intent.action.source for intent, _ in sends}) == len(sends)
        return {intent.action.source: made for intent, made in sends if made}

    # -- the commands

    @property
    def config(self) -> Path:
        """A config file for the commands, with the same store and the switches as the systems' addresses."""
        path = self.directory / "config.yaml"
        (self.directory / "store-key").write_text("a key for tests only")
        settings = {
            "store": {"url": self.store_url, "key": "file:store-key"},
            "connections": {self.name: self.connection},
        }
        YAML().dump(settings, path)
        return path

    @property
    def connection(self) -> dict[str, Any]:
        """As it stands in a config file, which may lie elsewhere."""
        return {
            "platform": {
                "type": "chatwoot",
                "url": self.platform_switch.url,
                "account": self.account_id,
                "token": f"file:{self.directory}/chatwoot-token",
            },
            "crm": {
                "type": "salesforce",
                "url": self.crm_switch.url,
                "auth": {
                    "flow": "client_credentials",
                    "client_id": "connector",
                    "client_secret": f"file:{self.directory}/salesforce-client-secret",
                },
                "ca": self.ca,
            },
            "mapping": str(self.mapping_file),
        }

    def broken_promises(self) -> list[str]:
        """What `connector audit` finds; a promise that nothing was checked for is none."""
        with App.open(self.config) as app:
            (plug,) = app.chosen(self.name)
            with plug.join() as joined:
                found = audit_connection(joined)
        assert len(found) >= 8, "the audit has lost a promise"
        assert sum(one.checked for one in found) > 0
        return [f"{one.promise}: {list(one.first)}" for one in found if one.violations]

    # -- both worlds, by their contents

    def world(self, conversations: list[int], said: dict[str, str]) -> dict[str, Any]:
        """Everything that these conversations' people, texts and records show on both sides and on the network, without ids
        and times. `said` are the words that belong to this time only, with those to show in their place."""
        crm = {name: self.records(name) for name in ("Contact", "Social_Identity__c", "Social_Conversation__c", "Task")}
        crm["Social_Outbound__c"] = self.records("Social_Outbound__c")
        shown: dict[str, Any] = {}
        for place, number in enumerate(conversations):
            key = f"{self.name}:{number}"
            (thread,) = [row for row in crm["Social_Conversation__c"] if row.get("SMM_Conversation_Key__c") == key]
            row = self.conversation(number)
            person = self.person(row["meta"]["sender"]["id"])
            contact = thread["Contact__c"]
            messages = self.agent("GET", f"conversations/{number}/messages")["payload"]
            shown[f"conversation {place}"] = {
                "status": row["status"],
                "priority": row["priority"],
                "labels": sorted(row["labels"]),
                "person": {name: person[name] for name in ("name", "email", "phone_number", "custom_attributes")},
                "person knows its contact": person["identifier"] == contact,
                "messages": [
                    {name: one.get(name) for name in ("content", "message_type", "private", "status")}
                    for one in messages
                    if one["message_type"] != ACTIVITY
                ],
                # In an order of their own: a reply in doubt holds the replies after it, not what else changes.
                "activities": [one["content"] for one in messages if one["message_type"] == ACTIVITY],
                "network": self.received(number),
                "contact": _contents([one for one in crm["Contact"] if one["Id"] == contact]),
                "identities": _contents([one for one in crm["Social_Identity__c"] if one["Contact__c"] == contact]),
                "thread": _contents([thread]),
                "timeline": _contents(sorted(self.timeline(number), key=_number)),
                "replies": _contents(
                    [one for one in crm["Social_Outbound__c"] if one["Conversation__c"] == thread["Id"]]
                ),
            }
        text = json.dumps(shown, sort_keys=True, ensure_ascii=False)
        for word in sorted(said, key=len, reverse=True):
            text = text.replace(word, said[word])
        return dict(json.loads(re.sub(r"\b\d\d:\d\d\b", "HH:MM", text)))

    def doubles(self) -> list[str]:
        """Keys of ours that more than one live record carries."""
        keys: list[str] = []
        for name, key in (
            ("Task", "SMM_Message_Key__c"),
            ("Contact", "SMM_Person_Key__c"),
            ("Social_Identity__c", "SMM_Identity_Key__c"),
            ("Social_Conversation__c", "SMM_Conversation_Key__c"),
        ):
            keys += [f"{name} {row[key]}" for row in self.records(name) if row.get(key)]
        return sorted({key for key in keys if keys.count(key) > 1})


@contextmanager
def opened(directory: Path, store_url: str | None = None, name: str = "shop") -> Iterator[Switched]:
    """Both systems, with nobody in them yet, behind their switches. `name` is that of the connection."""
    with running(directory) as sandboxes:
        office = Switched(sandboxes, store_url)
        office.name = name
        office.control("import", inboxes=INBOXES, labels=LABELS)
        try:
            yield office
        finally:
            office.shut()


@dataclass
class Story:
    """A customer whom both systems know, then work on both sides, and a newcomer. `name` belongs to this story alone."""

    office: Switched
    name: str
    threads: list[int] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        self.said |= {self.name: "NAME", self.name.lower(): "name"}
        self.arrives("Noa")

    def arrives(self, who: str) -> None:
        phone = self.office.phone()
        self.said[phone] = f"PHONE {len(self.threads)}"
        self.threads.append(self.office.customer(f"{who} {self.name}", phone, f"{who} asks"))
        self.office.write_again(self.threads[-1], f"{who} is still here")

    def go_on(self) -> None:
        office, (number,) = self.office, self.threads
        for text in ("first answer", "second answer", "third answer"):
            office.reply(number, text)
        office.write_again(number, "thank you")
        office.agent("POST", f"conversations/{number}/messages", content="an agent answers", message_type="outgoing")
        office.agent("POST", f"conversations/{number}/labels", labels=["vip"])
        office.agent("POST", f"conversations/{number}/toggle_priority", priority="high")
        thread = office.record("Social_Conversation__c", SMM_Conversation_Key__c=f"{office.name}:{number}")
        changed = {"Labels__c": "repair", "Priority__c": "low", "Status__c": "resolved"}
        office.crm("PATCH", f"sobjects/Social_Conversation__c/{thread['Id']}", **changed)
        office.crm("PATCH", f"sobjects/Contact/{thread['Contact__c']}", Email=f"noa@{self.name.lower()}.example")
        self.arrives("Fien")

    def world(self) -> dict[str, Any]:
        return self.office.world(self.threads, self.said)


def _number(task: dict[str, Any]) -> int:
    """The place of a task's message on the platform."""
    return int(task["SMM_Message_Key__c"].rpartition("-")[2])


def _contents(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    own = re.compile(
        r"Id$|_Key__c$|_At__c$|URL__c$|Permalink__c$|Date$|DateTime$|Modstamp$|^Contact__c$|^Conversation__c$|attributes"
    )
    return [
        {
            name: value
            for name, value in row.items()
            if value is not None and not own.search(name) and not _counted(value)
        }
        for row in rows
    ]


def _counted(value: object) -> bool:
    """Whether a value is a number that the CRM gave the record by itself."""
    return re.fullmatch(r"SO-\d+", str(value)) is not None

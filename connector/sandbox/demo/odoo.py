"""A real Odoo on the stage, beside Chatwoot's stand-in: its people, what they do there, and what they read there.

The server is somebody else's to start (tests/servers/odoo_demo.py). The people use JSON-RPC with keys of their own.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup

from connector.model import Ref
from connector.sandbox import samples
from connector.sandbox.demo.crm import Deed, Table
from connector.sandbox.demo.people import Agent, Networks, Person, Record, read_reply
from connector.sandbox.demo.script import PHONE, PHONE_TYPED, REPLY
from connector.sandbox.demo.stage import Scene, Stage, set_up
from connector.sandbox.serve import one

LOG_NOTE = "Vaste klant; niet bellen tijdens schooltijd."
REFUSED = "Your refund left our bank today, Maya."
REFUSAL = "10 - This message is sent outside of allowed window."
AGENT_PHONE, CRM_PHONE_TYPED, CRM_PHONE = "+4917604069046", "+49 176 0406 90 47", "+4917604069047"
AGENT_TAG, CRM_TAG = "repair", "vip"
OURS = "<main.%@social-crm-connector>"
"""How the mapping keys its notes."""
MODELS = ("res.partner", "res.partner.category", "mail.message")
NOBODY = "private"
"""The account of the samples that stands for no company."""


@dataclass(frozen=True)
class At:
    """A running Odoo: the connector's own user there, and the administrator and a colleague, each with an API key."""

    url: str
    database: str
    bot: tuple[str, str]
    admin: tuple[str, str]
    colleague: tuple[str, str]


class OdooUser(Person):
    """A person who works in Odoo."""

    def __init__(self, at: At, login: tuple[str, str]) -> None:
        super().__init__(at.url)
        self._database = at.database
        self._login, self._secret = login
        self.id = int(self._rpc("common", "authenticate", at.database, *login, {}))

    def __call__(self, model: str, method: str, *args: Any, **options: Any) -> Any:
        return self._rpc("object", "execute_kw", self._database, self.id, self._secret, model, method, args, options)

    def read(self, model: str, domain: Sequence[Any], *fields: str, order: str = "id") -> list[Record]:
        return list(self(model, "search_read", domain, list(fields), order=order))

    def one(self, model: str, domain: Sequence[Any], *fields: str) -> Record:
        """The only record that fits. Raises LookupError."""
        found = self.read(model, domain, *fields)
        if len(found) != 1:
            raise LookupError(f"{len(found)} records of {model} instead of one: {domain}")
        return found[0]

    def contact(self, name: str) -> int:
        """The id of the contact. Raises LookupError."""
        return int(self.one("res.partner", [["name", "=", name]], "id")["id"])

    def post(self, contact: int, text: str, subtype: str) -> int:
        """What the composer on the contact's page does."""
        made = self("res.partner", "message_post", [contact], body=text, message_type="comment", subtype_xmlid=subtype)
        return int(made[0] if isinstance(made, list) else made)

    def _rpc(self, service: str, method: str, *args: Any) -> Any:
        params = {"service": service, "method": method, "args": args}
        answer = self._call("POST", "/jsonrpc", json={"jsonrpc": "2.0", "method": "call", "id": 1, "params": params})
        if "error" in answer:
            raise RuntimeError(f"{method} {args[3:]}: {answer['error']['data']['message']}")
        return answer["result"]


class Odoo:
    """A colleague at work there, and the administrator, who reads everything. It is a `Crm`."""

    name = "Odoo"
    batch = 500
    told: Sequence[str] = (
        "writes to Jet with 'Send message'; it goes to WhatsApp, where Jet wrote last",
        "logs a note about Jet, which is for colleagues only",
        "writes to Maya, and WhatsApp refuses it",
        "corrects Maya's phone number",
        "tags Oliver vip, while an agent in Chatwoot labels him repair",
        "notes down a phone number of Emily's, while an agent in Chatwoot notes down another",
        "finds out that Tom from Facebook is the Tom Bakker whom they know, and merges the two",
    )

    def __init__(self, at: At) -> None:
        self._admin = OdooUser(at, at.admin)
        self._colleague = OdooUser(at, at.colleague)
        self._versions: set[tuple[str, int, str]] = set()
        self._replies: list[int] = []

    def move_in(self) -> None:
        """The shop's contacts, as they stood in Odoo before. Its users have the addresses they have in Chatwoot."""
        objects = {group["object"]: group["records"] for group in samples.read("crm.yaml")["objects"]}
        users: dict[str, int] = {}
        for person in objects["User"]:
            found = self._admin.read("res.users", [["name", "=", f"{person['FirstName']} {person['LastName']}"]], "id")
            for user in found:
                self._admin("res.users", "write", [user["id"]], {"email": person["Email"]})
                users[person["key"]] = user["id"]
        companies = {}
        for account in objects["Account"]:
            if account["key"] != NOBODY:
                values = {"name": account["Name"], "phone": account.get("Phone"), "is_company": True}
                companies[account["key"]] = self._add(values)
        for contact in objects["Contact"]:
            values = {
                "name": f"{contact['FirstName']} {contact['LastName']}",
                "email": contact.get("Email"),
                "phone": contact.get("MobilePhone") or contact.get("Phone"),
                "function": contact.get("Title"),
                "parent_id": companies.get(contact["AccountId"][1:]),
                "user_id": users.get(contact["OwnerId"][1:]),
            }
            self._add(values)

    def _add(self, values: Record) -> int:
        """As an import does it: nobody follows the contact by that, and nobody is told by mail."""
        given = {name: value for name, value in values.items() if value}
        return int(self._admin("res.partner", "create", given, context={"tracking_disable": True}))

    # -- what they do

    def work(self, agent: Agent, networks: Networks) -> list[Deed]:
        return [
            self._reply(networks),
            self._log_note(networks),
            self._refused_reply(networks),
            self._correct_phone(agent, networks),
            self._tag(agent, networks),
            self._change_phone(agent, networks),
            self._merge(networks),
        ]

    def _reply(self, networks: Networks) -> Deed:
        reply = self._colleague.post(self._colleague.contact("Jet de Boer"), REPLY, "mail.mt_comment")
        self._replies.append(reply)

        def arrived() -> str | None:
            texts = _texts(networks, "jet_saddle")
            if texts != [REPLY]:
                return f"WhatsApp got {texts}, not the reply as it was typed, once"
            fates = self._fates(reply)
            return (
                None
                if fates == ["Read on whatsapp"]
                else f"the notes under the reply say {fates}, not that it was read"
            )

        return Deed("Jet got the reply on WhatsApp, once, and the note under it says that she has read it", arrived)

    def _log_note(self, networks: Networks) -> Deed:
        self._colleague.post(self._colleague.contact("Jet de Boer"), LOG_NOTE, "mail.mt_note")

        def arrived() -> str | None:
            gone = [
                text for sample in ("jet_saddle", "jet_parcel") for text in _texts(networks, sample) if text != REPLY
            ]
            return f"the networks got {gone}" if gone else None

        return Deed("the log note about Jet has stayed in Odoo", arrived)

    def _refused_reply(self, networks: Networks) -> Deed:
        reply = self._colleague.post(self._colleague.contact("Maya Carter"), REFUSED, "mail.mt_comment")
        self._replies.append(reply)

        def arrived() -> str | None:
            fates, wanted = self._fates(reply), [f"Not delivered on whatsapp: {REFUSAL}"]
            return None if fates == wanted else f"the notes under the refused reply say {fates}"

        return Deed("the note under the reply to Maya says that WhatsApp refused it, and why", arrived)

    def _correct_phone(self, agent: Agent, networks: Networks) -> Deed:
        maya = self._colleague.contact("Maya Carter")
        person = agent.person(networks.conversation("carter_refund"))
        self._colleague("res.partner", "write", [maya], {"phone": PHONE_TYPED})

        def arrived() -> str | None:
            shown = agent.contact(person)["phone_number"]
            if shown != PHONE:
                return f"Chatwoot shows Maya's number as {shown}, not as {PHONE}"
            typed = self._admin.one("res.partner", [["id", "=", maya]], "phone")["phone"]
            return None if typed == PHONE_TYPED else f"the number typed in the CRM was rewritten to {typed}"

        return Deed("Maya's corrected number is in Chatwoot, and in the CRM it stays as it was typed", arrived)

    def _tag(self, agent: Agent, networks: Networks) -> Deed:
        oliver = self._colleague.contact("Oliver Hughes")
        person = agent.person(networks.conversation("oliver_brakes"))
        tag = self._admin.one("res.partner.category", [["name", "=", CRM_TAG]], "id")["id"]
        self._colleague("res.partner", "write", [oliver], {"category_id": [(4, tag)]})
        agent.tag(person, AGENT_TAG)

        def arrived() -> str | None:
            ours = self._admin.one("res.partner", [["id", "=", oliver]], "category_id")["category_id"]
            found = [row["name"] for row in self._admin.read("res.partner.category", [["id", "in", ours]], "name")]
            sides = sorted(found), agent.tags(person)
            wanted = [AGENT_TAG, CRM_TAG]
            return (
                None if sides == (wanted, wanted) else f"Oliver's tags are {sides[0]} in Odoo, {sides[1]} in Chatwoot"
            )

        return Deed("Oliver has both tags on both sides", arrived)

    def _change_phone(self, agent: Agent, networks: Networks) -> Deed:
        emily = self._colleague.contact("Emily Clarke")
        person = agent.person(networks.conversation("emily_damage"))
        agent.set_phone(person, AGENT_PHONE)
        self._colleague("res.partner", "write", [emily], {"phone": CRM_PHONE_TYPED})

        def arrived() -> str | None:
            shown = agent.contact(person)["phone_number"]
            typed = self._admin.one("res.partner", [["id", "=", emily]], "phone")["phone"]
            if (shown, typed) == (CRM_PHONE, CRM_PHONE_TYPED):
                return None
            return f"Emily's number is {shown} in Chatwoot and {typed} in the CRM; the rule says {CRM_PHONE} in both"

        return Deed("Emily has the CRM user's number on both sides, as the rule says", arrived)

    def _merge(self, networks: Networks) -> Deed:
        """What the action Merge of the list of contacts does."""
        known, stranger = (row["id"] for row in self._admin.read("res.partner", [["name", "=", "Tom Bakker"]], "id"))
        wizard = "base.partner.merge.automatic.wizard"
        values = {"partner_ids": [(6, 0, [known, stranger])], "dst_partner_id": known}
        self._admin(wizard, "action_merge", [self._admin(wizard, "create", values)])

        def arrived() -> str | None:
            contact = self._admin.one("res.partner", [["name", "=", "Tom Bakker"]], "id")["id"]
            notes = len(self._notes([["res_id", "=", contact]]))
            wrote = networks.stored(networks.conversation("tom_bell"))
            return (
                None if notes == wrote else f"{notes} of the {wrote} messages with Tom are on the contact that was kept"
            )

        return Deed(
            "all messages with Tom are on the contact that was kept, and the other one was not made again", arrived
        )

    def report(self, networks: Networks) -> str:
        read_reply(networks)
        (maya,) = networks.received(networks.conversation("carter_refund"))
        networks.refuse(maya["message_id"], REFUSAL)
        return "WhatsApp has reported that Jet has read the reply, and that it refuses the one to Maya."

    # -- what stands there

    def calls(self) -> int | None:
        return None

    def written(self) -> int:
        for model in MODELS:
            domain = [["active", "in", [True, False]]] if model != "mail.message" else []
            rows = self._admin.read(model, domain, "write_date")
            self._versions |= {(model, row["id"], row["write_date"]) for row in rows}
        return len(self._versions)

    def stored(self) -> int:
        return len(self._notes([]))

    def on_timeline(self, text: str) -> str | None:
        found = [note for note in self._notes([]) if _plain(note).removeprefix("[edited] ").startswith(text)]
        return None if len(found) == 1 else f"{len(found)} notes instead of one show {text!r}"

    def marked(self, text: str) -> str | None:
        found = [body for note in self._notes([]) if text in (body := _plain(note))]
        good = len(found) == 1 and found[0].startswith("[deleted]")
        return None if good else f"the deleted message {text!r} stands there as {found}"

    def _notes(self, more: Sequence[Any]) -> list[Record]:
        """The notes that the connector wrote for messages."""
        return self._admin.read("mail.message", [["message_id", "=like", OURS], *more], "body")

    def _fates(self, reply: int) -> list[str]:
        return [_plain(note) for note in self._notes([["parent_id", "=", reply]])]

    def timeline(self) -> Table:
        who = self._admin.contact("Jet de Boer")
        domain = [["model", "=", "res.partner"], ["res_id", "=", who], ["message_type", "=", "comment"]]
        fields = ("date", "subject", "author_id", "email_from", "subtype_id", "body")
        rows = self._admin.read("mail.message", domain, *fields, order="date, id")
        return Table(
            f"The chatter of the contact Jet de Boer in Odoo ({who}), who writes on two networks",
            ("date", "subject", "author", "kind", "text"),
            [
                (
                    row["date"][:16],
                    row["subject"] or "",
                    row["author_id"][1] if row["author_id"] else row["email_from"],
                    row["subtype_id"][1],
                    _plain(row),
                )
                for row in rows
            ],
        )

    def replies(self) -> Sequence[Table]:
        rows = self._admin.read("mail.message", [["id", "in", self._replies]], "record_name", "body", "author_id")
        told = [
            (row["record_name"], _plain(row), row["author_id"][1], " / ".join(self._fates(row["id"]))) for row in rows
        ]
        columns = ("contact", "reply", "author", "the note under it")
        return (Table("Replies written in Odoo with 'Send message'", columns, told),)

    def name_of(self, ref: Ref) -> str:
        """A contact's with its company."""
        return str(self._admin.one(ref.object, [["id", "=", int(ref.id)]], "display_name")["display_name"])


def _plain(message: Mapping[str, Any]) -> str:
    """What a reader of the chatter sees."""
    return BeautifulSoup(message["body"], "html.parser").get_text()


def _texts(networks: Networks, sample: str) -> list[str]:
    return [one["text"] for one in networks.received(networks.conversation(sample))]


@contextmanager
def stage(at: At, directory: Path) -> Iterator[Stage]:
    """Chatwoot's sandbox with the sample shop, the contacts of the shop in Odoo, and a fresh store, in an empty directory.

    Raises SandboxError when the sandbox does not come up, and ConfigError.
    """

    def own_crm(connection: dict[str, Any]) -> None:
        login, _ = at.bot
        key = f"file:{state.name}/odoo-key"
        connection["crm"] = {"type": "odoo", "url": at.url, "database": at.database, "login": login, "key": key}
        connection["mapping"] = "mappings/chatwoot-odoo.yaml"

    state = directory / ".sandbox"
    crm = Odoo(at)
    crm.move_in()
    with one("chatwoot", state) as chatwoot:
        url, account = chatwoot.told["url"], chatwoot.told["account_id"]
        samples.load_conversations(url, state)
        for name, secret in (("odoo-key", at.bot[1]), ("store-key", secrets.token_urlsafe(32))):
            (state / name).touch(mode=0o600)
            (state / name).write_text(secret)
        with set_up(directory, url, account, crm, own_crm) as on:
            yield on


def scene(at: At) -> Scene:
    return Scene(
        f"A Chatwoot stand-in starts on this machine beside the real Odoo at {at.url}, with the sample shop Noordzee Fietsen.",
        partial(stage, at),
    )

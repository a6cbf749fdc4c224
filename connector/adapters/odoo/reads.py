"""Reading records: what changed, the present state of known records, and the search for unknown ones."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self

from connector.adapters.base import Lookup, ObjectRead, Page, Window
from connector.adapters.odoo import domains
from connector.adapters.odoo.domains import Domain
from connector.adapters.odoo.errors import SYSTEM
from connector.adapters.odoo.records import columns, moment, observed, ref
from connector.adapters.odoo.schema import Schema
from connector.adapters.odoo.transport import Answer, Client, Row, checked, whole_numbers
from connector.adapters.odoo.values import EXTERNAL_ID, MESSAGE, external_key, is_number, plain_time, shown, stored
from connector.adapters.phones import national_digits, same_phone
from connector.errors import Rejected, SchemaDrift, Unreadable
from connector.model import Fields, Kind, Life, Observed, Ref, Value, stamp

PAGE: Final = 1000
UNSEEN: Final = "unseen"
UNHOLDABLE: Final = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Place:
    """A place inside a window: the model being read, the last id of it, and the server's time when the window was opened."""

    model: str
    last: int = 0
    until: str = ""

    def __str__(self) -> str:
        return json.dumps([self.model, self.last, self.until])

    @classmethod
    def parse(cls, token: str) -> Self:
        return cls(*json.loads(token))


class Reads:
    """`reads` is what the mapping wants of each model, `user` answers our own user's id."""

    def __init__(
        self, client: Client, schema: Schema, reads: Mapping[str, ObjectRead], user: Callable[[], int]
    ) -> None:
        self._client = client
        self._schema = schema
        self._user = user
        self._reads = dict(sorted(reads.items(), key=lambda item: item[1].kind.rank))

    def changes(self, window: Window) -> Iterator[Page]:
        """Model after model, parents first, page by page. A record that changes while we page stands in the next window,
        which begins before this one was opened."""
        floor = plain_time(stamp(window.since)) if window.since else None
        models = [
            model for model, read in self._reads.items() if read.initial or (floor and not _only_written(model, read))
        ]
        place = Place.parse(window.resume) if window.resume else Place("")
        if not models:
            yield Page((), watermark=moment(place.until) or self.server_time())
            return
        if place.model not in models:
            # A new window, or one that was broken off at a model which the mapping has dropped since: the others are read.
            place = Place(models[0], 0, place.until)
        while True:
            answer = self._page(place, floor)
            until = place.until or plain_time(stamp(_told(answer)))
            rows = checked(answer.body, "search_read")
            found = self._answers_to_us(self._observe(place.model, rows), rows, floor)
            later = models[models.index(place.model) + 1 :]
            if len(rows) >= PAGE:
                place = Place(place.model, int(rows[-1]["id"]), until)
            elif later:
                place = Place(later[0], 0, until)
            else:
                yield Page(found, watermark=moment(until))
                return
            yield Page(found, resume=str(place))

    def _answers_to_us(self, found: Sequence[Observed], rows: Sequence[Row], floor: str | None) -> tuple[Observed, ...]:
        """Only what is typed under a note of ours is a reply, and only when it is new.

        Two actors: a colleague writes to a contact by mail for years; then the contact writes on a network, or is merged with
        one who did, and Odoo stamps every old message anew. None of them was meant for the network.
        """
        made = {int(row["id"]): str(row["create_date"]) for row in rows}
        first: dict[Ref, int] = {}
        told: list[Observed] = []
        for one in found:
            if one.kind is Kind.REPLY:
                at = one.parent
                if at and at not in first:
                    first[at] = self._first_of_ours(at)
                fresh = floor is not None and made[int(one.ref.id)] >= floor
                if not (fresh and at and 0 < first[at] < int(one.ref.id)):
                    one = replace(one, kind=self.read_of(one.ref.object).kind)  # noqa: PLW2901
            told.append(one)
        return tuple(told)

    def _first_of_ours(self, at: Ref) -> int:
        """The first message that we wrote on a record, 0 where there is none."""
        domain = [["model", "=", at.object], ["res_id", "=", int(at.id)], ["create_uid", "=", self._user()]]
        ids = whole_numbers(self._client.read(MESSAGE, "search", domain=domain, order="id asc", limit=1).body, "search")
        return ids[0] if ids else 0

    def server_time(self) -> datetime:
        return _told(self._client.read("res.users", "context_get"))

    def fetch(self, refs: Sequence[Ref]) -> list[Observed]:
        known: dict[Ref, Observed] = {}
        for model in dict.fromkeys(one.object for one in refs):
            ids = sorted({int(one.id) for one in refs if one.object == model and is_number(one.id)})
            known |= {one.ref: one for one in self._observe(model, self._by_id(model, ids))}
            hidden = self.hidden(model, [id_ for id_ in ids if ref(model, id_) not in known])
            # Hidden is not gone: a record that our user may not see any more shows nothing, which is no change.
            known |= {ref(model, id_): self._unseen(ref(model, id_), Life.LIVE) for id_ in hidden}
        return [known.get(one) or self._unseen(one, Life.GONE) for one in refs]

    def surviving(self, model: str, ids: Sequence[int]) -> set[int]:
        """Those of the records that exist, hidden ones included."""
        seen = set(whole_numbers(self._client.read(model, "search", domain=[["id", "in", list(ids)]]).body, "search"))
        return seen | self.hidden(model, [id_ for id_ in ids if id_ not in seen])

    def hidden(self, model: str, ids: Sequence[int]) -> set[int]:
        """Those that exist though a search does not show them to us: Odoo refuses to read them, and answers nothing for
        those that are gone."""
        if not ids:
            return set()
        try:
            self._client.rows(model, "read", ids=ids, fields=["write_date"])
        except Rejected:
            if len(ids) == 1:
                return set(ids)
            middle = len(ids) // 2
            return self.hidden(model, ids[:middle]) | self.hidden(model, ids[middle:])
        return set()

    def find(self, lookups: Sequence[Lookup]) -> list[list[Observed]]:
        found: list[dict[Ref, Observed]] = [{} for _ in lookups]
        groups: dict[tuple[str, str, str], list[int]] = {}
        for place, one in enumerate(lookups):
            if _can_be_found(one):
                groups.setdefault((one.object, one.field, one.how), []).append(place)
        for (model, field, _), places in groups.items():
            if field == EXTERNAL_ID:
                self._find_by_key(model, places, lookups, found)
                continue
            for start in range(0, len(places), domains.ALTERNATIVES):
                self._search(model, places[start : start + domains.ALTERNATIVES], lookups, found)
        return [[by_ref[one] for one in sorted(by_ref, key=lambda at: int(at.id))] for by_ref in found]

    def ids_by_message_id(self, keys: Sequence[str]) -> dict[str, int]:
        """The messages that carry one of these, the oldest of each."""
        domain = [["message_id", "in", list(keys)]]
        rows = self._client.rows(MESSAGE, "search_read", domain=domain, fields=["message_id"], order="id desc")
        return {str(row["message_id"]): int(row["id"]) for row in rows}

    def knows(self, model: str) -> bool:
        """Whether the mapping still reads this model."""
        return model in self._reads

    def read_of(self, model: str) -> ObjectRead:
        if model not in self._reads:
            raise SchemaDrift(SYSTEM, "object", f"the mapping does not read {model}.", "Add it to the mapping.")
        return self._reads[model]

    def _page(self, place: Place, floor: str | None) -> Answer:
        # Two actors: somebody saves a record while we read page two. Were pages told apart by time, it would move behind
        # our back; told apart by id under one floor it is read here or in the next window, and no row is passed over.
        where = self._where(place.model)
        where += [["write_date", ">=", floor]] if floor else []
        read, types = self._reads[place.model], self._schema.types(place.model)
        return self._client.read(
            place.model,
            "search_read",
            domain=[*where, ["id", ">", place.last]],
            fields=columns(read, types),
            order="id asc",
            limit=PAGE,
        )

    def _where(self, model: str) -> Domain:
        """Of records that the connector makes, only our own are read; of a whole company's chatter only what somebody typed
        for a customer. Our own messages are not read back: nothing goes from them to the platform, a merge moves them with
        their contact, and `gone` tells when one was deleted."""
        read, types = self._reads[model], self._schema.types(model)
        where: Domain = []
        if model == MESSAGE:
            where.append(["model", "in", [name for name in self._reads if name != MESSAGE]])
        if read.key is None:
            return where
        if model != MESSAGE or read.initial:
            return [*where, ["create_uid", "=", self._user()]]
        typed: Domain = [
            [name, "=", stored(types[name], value, self._schema.ids_of)]
            for name, value in read.reply_when.items()
            if name in types
        ]
        return [*where, *typed, ["create_uid", "!=", self._user()]]

    def _by_id(self, model: str, ids: Sequence[int]) -> list[Row]:
        read, types = self.read_of(model), self._schema.types(model)
        rows: list[Row] = []
        for start in range(0, len(ids), PAGE):
            domain = [["id", "in", list(ids[start : start + PAGE])]]
            rows += self._client.rows(model, "search_read", domain=domain, fields=columns(read, types))
        return rows

    def _search(
        self, model: str, places: Sequence[int], lookups: Sequence[Lookup], found: list[dict[Ref, Observed]]
    ) -> None:
        group = [lookups[place] for place in places]
        types, field = self._schema.types(model), group[0].field
        if field not in types:
            raise SchemaDrift(SYSTEM, "field", f"{model} has no field {field}.", "Correct the mapping.")
        wanted = [*columns(self.read_of(model), types), field, *({"email_normalized"} & types.keys())]
        domain = domains.lookups(group, types, self._client.version)
        domain = [*domain, *([["active", "=", True]] if "active" in types else [])]
        rows = self._client.rows(model, "search_read", domain=domain, fields=list(dict.fromkeys(wanted)), order="id")
        seen = {int(one.ref.id): one for one in self._observe(model, rows)}
        for row in rows:
            for place in places:
                if _answers(lookups[place], row):
                    one = seen[int(row["id"])]
                    found[place][one.ref] = one

    def _find_by_key(
        self, model: str, places: Sequence[int], lookups: Sequence[Lookup], found: list[dict[Ref, Observed]]
    ) -> None:
        ids = {place: self._schema.by_key(lookups[place].value) for place in places}
        refs = {place: ref(model, id_) for place, id_ in ids.items() if id_}
        for (place, _), one in zip(refs.items(), self.fetch(list(refs.values())), strict=True):
            if one.life is Life.LIVE:
                found[place][one.ref] = one

    def _observe(self, model: str, rows: Sequence[Row]) -> list[Observed]:
        if not rows:
            return []
        read, types = self.read_of(model), self._schema.types(model)
        extra = self._extra(model, rows)
        user = self._user()
        colleagues = frozenset(one.id for one in self._schema.users()) if model == MESSAGE else frozenset()
        return [
            observed(
                model,
                read,
                row,
                types,
                user=user,
                colleagues=colleagues,
                names=self._schema.name_of,
                extra=extra[int(row["id"])],
            )
            for row in rows
        ]

    def _extra(self, model: str, rows: Sequence[Row]) -> dict[int, dict[str, Value]]:
        """Per row what is not a column: our key, and fields of linked records, each read once for the whole page."""
        read, types = self.read_of(model), self._schema.types(model)
        extra: dict[int, dict[str, Value]] = {int(row["id"]): {} for row in rows}
        if EXTERNAL_ID in (*read.fields, read.key):
            for id_, complete in self._schema.external_ids(model, list(extra)).items():
                keys = [key for key in map(external_key, complete) if key is not None]
                extra[id_][EXTERNAL_ID] = next(iter(keys), None)
        paths: dict[str, list[str]] = {}
        for path in read.fields:
            via, _, rest = path.partition(".")
            if rest and via in types:
                paths.setdefault(via, []).append(rest)
        for via, names in paths.items():
            beyond = self._beyond(types[via].relation, {row[via][0] for row in rows if row[via]}, names)
            for row in rows:
                linked = beyond.get(row[via][0], {}) if row[via] else {}
                extra[int(row["id"])] |= {f"{via}.{name}": linked.get(name) for name in names}
        return extra

    def _beyond(self, model: str, ids: set[int], names: Sequence[str]) -> dict[int, Fields]:
        if not ids:
            return {}
        types = self._schema.types(model)
        rows = self._client.rows(model, "read", ids=sorted(ids), fields=list(names))
        return {
            int(row["id"]): {name: shown(types[name], row[name], self._schema.name_of) for name in names}
            for row in rows
        }

    def _unseen(self, at: Ref, life: Life) -> Observed:
        return Observed(at, self.read_of(at.object).kind, {}, version=UNSEEN, life=life)


def _only_written(model: str, read: ObjectRead) -> bool:
    """Whether a model holds nothing that we want to read: messages of ours, and no replies."""
    return model == MESSAGE and read.key is not None and not read.reply_when


def _can_be_found(lookup: Lookup) -> bool:
    """No text holds NUL or half of a surrogate pair, and a number without a digit would be looked for in every record."""
    value = lookup.value.strip()
    if not value or UNHOLDABLE.search(value) or (lookup.how == "phone" and not national_digits(value)):
        return False
    return lookup.field != "id" or is_number(value)


def _answers(lookup: Lookup, row: Row) -> bool:
    value = lookup.value.strip()
    held = row[lookup.field]
    if held is False:
        return False
    if lookup.how == "phone":
        return same_phone(value, held)
    if lookup.field == "email" and str(row.get("email_normalized") or "").casefold() == value.casefold():
        return True
    held = held[0] if isinstance(held, list) and held else held
    return str(held).strip().casefold() == value.casefold()


def _told(answer: Answer) -> datetime:
    if answer.time is None:
        raise Unreadable(SYSTEM, "date", "the answer has no Date header, so the server's time is unknown.")
    return answer.time

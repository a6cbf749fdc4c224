"""The org's data model: objects, fields and their flags. What describe tells and what every write is judged by."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

TEXTS = frozenset({"string", "textarea", "phone", "url", "email", "picklist", "multipicklist", "combobox"})
NUMBERS = frozenset({"int", "double", "currency", "percent"})


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a picklist."""

    value: str
    label: str
    default: bool = False
    active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field. `type` is the type name of describe; `length` counts UTF-16 units and 0 means not a text."""

    name: str
    type: str
    label: str = ""
    length: int = 0
    precision: int = 0
    scale: int = 0
    createable: bool = True
    updateable: bool = True
    nillable: bool = True
    default: object = None
    unique: bool = False
    case_sensitive: bool = False
    external_id: bool = False
    id_lookup: bool = False
    auto_number: str | None = None
    calculated: bool = False
    choices: tuple[Choice, ...] = ()
    restricted: bool = False
    refers_to: tuple[str, ...] = ()
    relationship: str | None = None
    children: str | None = None
    custom: bool = False

    @property
    def long_text(self) -> bool:
        """Long text areas can be neither filtered nor sorted."""
        return self.type == "textarea" and self.length > 255

    @property
    def polymorphic(self) -> bool:
        return len(self.refers_to) > 1

    @property
    def defaulted(self) -> bool:
        """Whether a create without a value fills it in: a default, false for a checkbox, the caller as owner."""
        return self.default is not None or self.type == "boolean" or self.name == "OwnerId"

    @property
    def required(self) -> bool:
        return self.createable and not self.nillable and not self.defaulted

    @property
    def indexed(self) -> bool:
        """Whether rows can be found by this field without reading the whole object."""
        if self.name in ("OwnerId", "CreatedById", "LastModifiedById"):
            return False
        return self.external_id or self.unique or self.id_lookup or self.type in ("reference", "email", "phone")


@dataclass(slots=True, kw_only=True)
class SObject:
    """An object and its fields by lower-case name. `setup` objects can be read but not written through the API."""

    name: str
    label: str
    plural: str
    prefix: str
    fields: dict[str, Field] = field(default_factory=dict)
    custom: bool = False
    activities: bool = False
    setup: bool = False

    def add(self, fields: Iterable[Field]) -> None:
        for one in fields:
            self.fields[one.name.lower()] = one

    def get(self, name: str) -> Field | None:
        return self.fields.get(name.lower())

    def by_relationship(self, name: str) -> Field | None:
        """The reference field whose parent is called `name` in queries and writes (Account, Owner, Contact__r)."""
        wanted = name.lower()
        return next((f for f in self.fields.values() if f.relationship and f.relationship.lower() == wanted), None)


@dataclass(slots=True)
class Schema:
    """Every object of the org by lower-case name."""

    objects: dict[str, SObject] = field(default_factory=dict)

    def __iter__(self) -> Iterator[SObject]:
        return iter(self.objects.values())

    def add(self, sobject: SObject) -> None:
        self.objects[sobject.name.lower()] = sobject

    def get(self, name: str) -> SObject | None:
        return self.objects.get(name.lower())

    def __getitem__(self, name: str) -> SObject:
        return self.objects[name.lower()]

    def by_prefix(self, prefix: str) -> SObject | None:
        return next((o for o in self if o.prefix == prefix), None)

    def references_to(self, name: str) -> list[tuple[SObject, Field]]:
        """Every (object, field) that can hold the id of a record of this object."""
        return [(o, f) for o in self for f in o.fields.values() if name in f.refers_to]

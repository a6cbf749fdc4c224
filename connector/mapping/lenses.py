"""What a transform is, how transforms are chained, and the plain one. Pure.

A lens ties a canonical platform value to the value a CRM field holds. Laws, tested for every one of them:
`same` is an equivalence; `get(put(x))` is `same` as x, apart from the loss that the lens declares; and
`put(value, old)` is `old`, untouched, while `get(old)` is still the same as the value: a phone number that a CRM user
typed in his own way is not written anew.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

from pydantic import BaseModel, ConfigDict

from connector.model import Fields, Value

NO_NAMES: Final[Fields] = {}


class Lens(Protocol):
    """`put` makes the CRM's value of a canonical one (`old`: what the CRM holds now, None where unknown; `names`: the
    namespace for texts it adds), `get` goes the other way. `same` compares canonical values."""

    def put(self, value: Value, old: Value = None, names: Fields = NO_NAMES) -> Value: ...

    def get(self, value: Value) -> Value: ...

    def same(self, a: Value, b: Value) -> bool: ...


@dataclass(frozen=True)
class Surroundings:
    """What transforms may know of the mapping and the connection. `users`: agent's e-mail to CRM user id."""

    zone: str = "UTC"
    region: str = "US"
    users: Mapping[str, str] = field(default_factory=dict)


class Base(BaseModel):
    """A lens made of its parameters. Subclasses say `to`, `back` and `key`; this class keeps the law of `old`. `loss` tells
    the admin what does not survive, `type` is the type of CRM field (`FieldInfo.type`) the result fits in, "" for any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: ClassVar[str] = "Nothing is lost."
    type: ClassVar[str] = ""

    def settle(self, around: Surroundings) -> "Base":
        """The lens with what it takes from the mapping and the connection."""
        return self

    def to(self, value: Value, names: Fields) -> Value:
        """The CRM's value of a canonical value that is not blank."""
        return value

    def back(self, value: Value) -> Value:
        """The canonical value of a CRM value that is not blank."""
        return value

    def key(self, value: Value) -> Hashable:
        """Equal keys mean the same value. Never called with a blank."""
        return plain_key(value)

    def put(self, value: Value, old: Value = None, names: Fields = NO_NAMES) -> Value:
        if not is_blank(old) and self.same(self.get(old), value):
            return old
        made = None if is_blank(value) else self.to(value, names)
        return None if is_blank(made) else made

    def get(self, value: Value) -> Value:
        made = None if is_blank(value) else self.back(value)
        return None if is_blank(made) else made

    def same(self, a: Value, b: Value) -> bool:
        # Most comparisons are of a value with itself, and some keys parse HTML.
        return (type(a) is type(b) and a == b) or self._key(a) == self._key(b)

    def _key(self, value: Value) -> Hashable:
        if is_blank(value):
            return None
        key = self.key(value)
        return None if is_blank(key) else key


class Plain(Base):
    """The value as it is; texts are compared without the white space that systems trim."""


@dataclass(frozen=True)
class Chain:
    """Several lenses in a row; the first stands nearest to the platform."""

    lenses: tuple[Lens, ...]

    def put(self, value: Value, old: Value = None, names: Fields = NO_NAMES) -> Value:
        if not is_blank(old) and self.same(self.get(old), value):
            return old
        for lens in self.lenses:
            value = lens.put(value, None, names)
        return value

    def get(self, value: Value) -> Value:
        for lens in reversed(self.lenses):
            value = lens.get(value)
        return value

    def same(self, a: Value, b: Value) -> bool:
        return self.lenses[0].same(a, b)


def is_blank(value: Any) -> bool:
    """Null, empty text and the empty set are blank; false and zero are not."""
    return not value and (value is None or isinstance(value, str | list | tuple))


def plain_key(value: Value) -> Hashable:
    """Texts without outer white space and with LF line ends, lists as sets of texts, numbers by value."""
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n").strip()
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, list | tuple):
        return tuple(sorted({repr(plain_key(item)) for item in value}))
    if isinstance(value, dict):
        return tuple(sorted((str(key), repr(plain_key(item))) for key, item in value.items()))
    return value if isinstance(value, Hashable) else repr(value)


PLAIN: Final[Lens] = Plain()

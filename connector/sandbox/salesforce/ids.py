"""Record ids: 15 case-sensitive characters, or 18 with a checksum that makes them safe where case is lost."""

from connector.sandbox.salesforce.errors import refuse

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_POD = "5g0"  # any pod: the three characters after the key prefix name the instance


def checksum(fifteen: str) -> str:
    """The three characters that turn a 15-character id into its 18-character form."""
    return "".join(
        _CHECK[sum(1 << i for i, c in enumerate(fifteen[start : start + 5]) if "A" <= c <= "Z")] for start in (0, 5, 10)
    )


def make(prefix: str, number: int) -> str:
    """The id of the `number`-th record; ids of one object rise with their number."""
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = _ALPHABET[rest] + digits
    fifteen = prefix + _POD + digits.rjust(9, "0")
    return fifteen + checksum(fifteen)


def is_id(value: object) -> bool:
    """Whether the value is a well-formed id of either length."""
    if not isinstance(value, str) or len(value) not in (15, 18) or not value.isascii() or not value.isalnum():
        return False
    return len(value) == 15 or checksum(value[:15]) == value[15:]


def normalise(value: object, field: str = "Id") -> str:
    """The 18-character form. Raises Refused(MALFORMED_ID) for anything else than an id."""
    if not isinstance(value, str) or not is_id(value):
        raise refuse("MALFORMED_ID", f"{field}: id value of incorrect type: {value}", field)
    return value if len(value) == 18 else value + checksum(value)

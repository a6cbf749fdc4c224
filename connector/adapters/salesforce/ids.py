"""Record ids: 15 characters, or 18 with a checksum that makes them safe where upper and lower case are alike."""

SYSTEM = "salesforce"
_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"

PREFIXES = {
    "001": "Account", "003": "Contact", "005": "User", "006": "Opportunity", "00G": "Group", "00Q": "Lead",
    "00T": "Task", "00U": "Event", "500": "Case", "701": "Campaign",
}  # fmt: skip
"""The first three characters of standard objects' ids (Salesforce Help, "Standard Field Record ID Prefix Decoder")."""


def id18(id_: str) -> str:
    """The 18-character form; any other text comes back as it is. Each of the three check characters holds, as five bits,
    which of five characters are upper case (Salesforce SOAP API Developer Guide, "ID Field Type")."""
    if len(id_) != 15 or not id_.isascii() or not id_.isalnum():
        return id_
    fives = (id_[start : start + 5] for start in (0, 5, 10))
    return id_ + "".join(_CHECK[sum(char.isupper() << place for place, char in enumerate(five))] for five in fives)


def is_id(text: str) -> bool:
    """Whether a text has the form of an id. Any other one would be an error of the whole request, or another request."""
    return len(text) in (15, 18) and text.isascii() and text.isalnum()


def may_be_id(text: str, object_: str) -> bool:
    """Whether a text can be the 18-character id of such an object: a query that compares Id with anything else is refused
    as a whole, and a platform's free id field holds anything."""
    if len(text) != 18 or not text.isascii() or not text.isalnum() or id18(text[:15]) != text:
        return False
    return PREFIXES.get(text[:3], object_) == object_

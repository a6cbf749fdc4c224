"""Phone numbers as CRMs keep them: typed in whatever way. Pure."""

import re

import phonenumbers


def national_digits(number: str) -> str:
    """The digits of an E.164 number without its country code, which people leave out or write in their own way."""
    try:
        return str(phonenumbers.parse(number).national_number)
    except phonenumbers.NumberParseException:
        return re.sub(r"\D", "", number)


def same_phone(number: str, stored: object) -> bool:
    """Whether a stored number, written in whatever way, is this E.164 number; without a prefix it is read as a number
    of the same country."""
    try:
        wanted = phonenumbers.parse(number)
        region = phonenumbers.region_code_for_number(wanted)
        found = phonenumbers.parse(str(stored), region)
    except phonenumbers.NumberParseException:
        return re.sub(r"\D", "", number) == re.sub(r"\D", "", str(stored))
    return (wanted.country_code, wanted.national_number) == (found.country_code, found.national_number)

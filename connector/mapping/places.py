"""Names of time zones and countries, checked when a file is read."""

from typing import Annotated, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from pydantic import AfterValidator


def known_zone(name: str) -> str:
    """Raises ValueError when there is no such time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; write one such as UTC or Europe/Amsterdam") from None
    return name


def known_region(name: str) -> str:
    """Raises ValueError when phonenumbers knows no such country."""
    if name not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"{name!r} is no country code; write two capital letters such as NL or US")
    return name


Zone: TypeAlias = Annotated[str, AfterValidator(known_zone)]
Region: TypeAlias = Annotated[str, AfterValidator(known_region)]

"""What became of a write whose answer never came. Pure."""

from enum import StrEnum

from connector.model import Fact, Life, Observed


class Fate(StrEnum):
    LANDED = "landed"
    NEVER_SENT = "never_sent"
    OVERTAKEN = "overtaken"


def fate_of_update(fields: dict[str, object], before: Fact | None, now: Observed) -> Fate:
    """Compare what the target shows now with what we sent and with what it showed before.

    Two actors: our update lands and its answer is lost; a person then edits the same field. Repeating the write would
    overwrite her edit, so anything that is neither the old value nor ours counts as overtaken and is merged afresh.
    `fields` are those of the write, with placeholders resolved.
    """
    if now.life is not Life.LIVE:
        return Fate.OVERTAKEN
    shown = {name: now.fields[name] for name in fields if name in now.fields}
    if all(_kept(fields[name]) == _kept(value) for name, value in shown.items()) and shown:
        return Fate.LANDED
    old = {name: before.fields.get(name) for name in shown} if before else {}
    if shown == old:
        return Fate.NEVER_SENT
    # The last writer is us, though it may have been an earlier write of ours, as the system reformatted it. Nobody wrote
    # after us, so sending again harms nobody.
    return Fate.NEVER_SENT if now.ours and shown else Fate.OVERTAKEN


def _kept(value: object) -> object:
    """A value as every system keeps it: Salesforce takes the spaces off both ends of a text, and an empty one is none.

    Two actors: our update lands trimmed, and its answer is lost; before it is repeated a person takes back on the platform what
    it told. Held for never written, it would be decided anew as if the CRM still showed the value before.
    """
    return (value.strip() or None) if isinstance(value, str) else value

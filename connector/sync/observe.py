"""Folding a new observation into what is remembered of a record. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from connector.model import Fact, Kind, Life, Observed, Ref, Side, State, Value, digest

KEPT_WHEN_DELETED = ("text", "attachments")
AUTHOR = ("author", "author_email")
"""A message keeps the author's name as it was first seen: a person who is renamed did not write the past again, and their
whole history need not be written to the CRM once more."""


def fold(old: Fact | None, seen: Observed, side: Side) -> Fact | None:
    """The fact after an observation, None where the observation is no news.

    Absent fields keep their old value. The version joins the side's stamp with a digest of what was shown, because stamps
    have whole seconds: two edits in one second are two versions. A record that moved to another parent (two contacts of the
    platform were merged) keeps its version, and is news all the same. An observation older than the fact is no news: an overlapped window shows an old
    version again after a newer one was fetched through a hint. A message deleted on its network keeps the text that was
    known, so that the mapping can still decide between marking and blanking it.
    """
    version = f"{seen.version}/{digest(seen.fields)}"
    if old is None:
        return Fact(
            ref=seen.ref,
            side=side,
            kind=seen.kind,
            fields=dict(seen.fields),
            version=version,
            changed_at=seen.changed_at,
            by=seen.by,
            ours=seen.ours,
            parent=seen.parent,
            life=seen.life,
            merged_into=seen.merged_into,
            token=seen.token,
            state=State.OPEN if seen.kind is Kind.MESSAGE and side is Side.PLATFORM else None,
        )
    if version == old.version and seen.life is old.life and seen.parent in (None, old.parent):
        return None
    if old.changed_at and seen.changed_at and seen.changed_at < old.changed_at and seen.life is old.life:
        return None
    fields = {**old.fields, **seen.fields}
    if fields.get("deleted") and side is Side.PLATFORM:
        fields.update({name: old.fields[name] for name in KEPT_WHEN_DELETED if name in old.fields})
    if seen.kind is Kind.MESSAGE:
        fields.update({name: old.fields[name] for name in AUTHOR if name in old.fields})
    parent = seen.parent or old.parent
    written = seen.kind is Kind.MESSAGE and old.kind is Kind.MESSAGE and side is Side.CRM
    if (fields, parent, seen.life, seen.merged_into) == (old.fields, old.parent, old.life, old.merged_into) or (
        written and _shows_no_change(old, seen)
    ):
        # The stamp moved but nothing we read did. The version is taken over quietly, unless it shows a write of ours for the first
        # time (`ours` is None since then): the plan must look once more, because this is the read-back that confirms a snapshot,
        # and what other personas of a contact wait for. Two actors: our write lands; before it is read somebody saves the record
        # unchanged, and its last author is she. Of a message nothing goes to the platform, so its record in the CRM has no values
        # to confirm; it may only be deleted or moved.
        shown = bool(seen.ours) or (old.ours is None and side is Side.CRM)
        return replace(
            old,
            fields=fields,
            parent=parent,
            version=version,
            changed_at=seen.changed_at,
            by=seen.by,
            ours=seen.ours,
            token=seen.token or old.token,
            dirty=old.dirty or (shown and not written),
        )
    return replace(
        old,
        fields=fields,
        version=version,
        changed_at=seen.changed_at or old.changed_at,
        by=seen.by,
        ours=seen.ours,
        parent=parent,
        life=seen.life,
        merged_into=seen.merged_into,
        token=seen.token or old.token,
        edited=old.edited or _text_changed(old, fields),
        dirty=True,
    )


def _shows_no_change(old: Fact, seen: Observed) -> bool:
    """Whether an observation only adds what a write did not tell: fields it did not name, and where the record hangs."""
    known = all(old.fields[name] == value for name, value in seen.fields.items() if name in old.fields)
    return known and seen.life is old.life and (old.parent is None or seen.parent in (None, old.parent))


def _text_changed(old: Fact, fields: Mapping[str, Value]) -> bool:
    """A text that shows for the first time (a reply we sent, known before it was read) is no edit."""
    return old.kind is Kind.MESSAGE and "text" in old.fields and old.fields["text"] != fields.get("text")


def fold_all(known: Mapping[Ref, Fact], page: tuple[Observed, ...], side: Side) -> list[Fact]:
    """The facts that a page changes, each once, in the page's order."""
    facts = dict(known)
    news: dict[Ref, Fact] = {}
    for seen in page:
        fact = fold(facts.get(seen.ref), seen, side)
        if fact is not None:
            facts[seen.ref] = news[seen.ref] = fact
    return list(news.values())


def moved_to(loser: Ref, children: Sequence[Observed]) -> Ref | None:
    """The one record that what hung on a vanished one hangs on now; None where its children do not agree on one."""
    homes = {
        one.parent
        for one in children
        if one.life is Life.LIVE and one.parent and one.parent.object == loser.object and one.parent != loser
    }
    return homes.pop() if len(homes) == 1 else None

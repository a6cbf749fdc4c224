"""Looking persons up in the CRM: all lookups of a batch in as few calls as the adapter can make."""

from collections.abc import Sequence

from connector.adapters.base import Adapter
from connector.mapping.compiled import Compiled
from connector.model import Fact, Fields, Life, Observed, Ref
from connector.sync.identity import Candidate, lookups


def find_candidates(
    persons: Sequence[Fact], mapping: Compiled, crm: Adapter
) -> tuple[dict[Ref, list[Candidate]], list[Observed]]:
    """The CRM records that might be each person (an empty list where there is none), and all records seen on the way."""
    match, objects = mapping.persons.match, mapping.persons.objects
    asked = [(person.ref, *one) for person in persons for one in lookups(person.fields, match, objects)]
    unique = list(dict.fromkeys(lookup for _, _, lookup in asked))
    answers = dict(zip(unique, crm.find(unique), strict=True)) if unique else {}
    found: dict[Ref, dict[Ref, Fields]] = {person.ref: {} for person in persons}
    known_by: dict[Ref, dict[Ref, set[str]]] = {person.ref: {} for person in persons}
    seen: dict[Ref, Observed] = {}
    pointed: list[tuple[Ref, str, Ref]] = []
    for person, evidence, lookup in asked:
        for one in answers[lookup]:
            if evidence.through is None or lookup.object != evidence.through.object:
                found[person][one.ref] = one.fields
                seen[one.ref] = one
                continue
            for name in evidence.through.person:
                if one.fields.get(name):
                    target = Ref(crm.system, _object_behind(mapping, name), str(one.fields[name]))
                    pointed.append((person, evidence.name, target))
    for one in crm.fetch(sorted({ref for _, _, ref in pointed} - seen.keys())) if pointed else []:
        seen[one.ref] = one
    for person, name, target in pointed:
        record = seen.get(target)
        if record and record.life is Life.LIVE:
            found[person][target] = record.fields
            known_by[person].setdefault(target, set()).add(name)
    candidates = {
        person: [Candidate(ref, records[ref], frozenset(known_by[person].get(ref, ()))) for ref in sorted(records)]
        for person, records in found.items()
    }
    return candidates, list(seen.values())


def _object_behind(mapping: Compiled, field: str) -> str:
    """The object that a field of the identity record points at, as its own link line says."""
    lines = mapping.identities.fields if mapping.identities else ()
    of = next((rule.of for rule in lines if rule.crm == field and rule.link), None)
    return of or mapping.persons.object

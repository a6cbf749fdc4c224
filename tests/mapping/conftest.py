"""A small mapping that every test can change, and facts to apply it to."""

from pathlib import Path

import pytest

from connector.mapping.compiled import Context, compile_mapping
from connector.mapping.load import load_mapping, parse_mapping
from connector.model import Fact, Kind, Ref, Side

ROOT = Path(__file__).parents[2]

SMALL = """\
version: 1
platform: chatwoot
crm: salesforce
zone: Europe/Amsterdam
region: NL
persons:
  object: Contact
  also: [Lead]
  key: {field: Key__c, template: "{connection}:{id}"}
  match:
    evidence:
      - {name: email, platform: email, crm: [Email], compare: email, weight: 80}
      - {name: name, platform: name, crm: [Name], compare: name, weight: 15, search: false}
  fields:
    - {crm: LastName, platform: last_name, default: Unknown, on: create}
    - {crm: Phone, platform: phone, direction: both, rule: crm, transform: phone}
    - {crm: Owner.Name, platform: attributes.owner, direction: to_platform, default: nobody}
conversations:
  object: Talk__c
  key: {field: Key__c, template: "{connection}:{id}"}
  fields:
    - {crm: Contact__c, link: person, of: Contact}
    - {crm: Status__c, platform: status, direction: both, rule: platform, values: {open: Open, resolved: Closed}}
    - {crm: Assignee__c, platform: assignee, direction: both, rule: crm, transform: user}
    - {crm: Count__c, platform: message_count}
messages:
  object: Task
  key: {field: Key__c, template: "{connection}:{id}"}
  filters:
    - {name: no notes, when: {private: {is: true}}, take: false}
  fields:
    - crm: Subject
      template: "[{conversation.network}] {sent_at:time} {arrow} {author}: {mark}{text:12}"
      transform: {text: {limit: 60}}
    - {crm: Network__c, platform: conversation.network}
    - {crm: WhoId, link: person}
    - {crm: WhatId, link: conversation, with_person: Contact}
    - {crm: Status, constant: Completed}
replies:
  object: Reply__c
  when: {Status__c: Queued}
  conversation: Talk__c
  text: Body__c
  transform: markdown_escape
  outcome: {status: Status__c, failed: Failed, held: Held, error: Error__c}
  fields:
    - {crm: Sent__c, platform: sent_at, transform: datetime}
"""


@pytest.fixture
def small():
    return SMALL


@pytest.fixture
def compiled():
    return compile_mapping(parse_mapping(SMALL), Context({"Anna@crm.example": "005A"}, "main"))


@pytest.fixture(params=["chatwoot-salesforce", "chatwoot-salesforce-minimal"])
def shipped(request):
    return load_mapping(ROOT / "mappings" / f"{request.param}.yaml", f"{request.param}.yaml")


def fact(kind: Kind, id_: str, edited: bool = False, **fields) -> Fact:
    return Fact(Ref("chatwoot", kind, id_), Side.PLATFORM, kind, fields, "v1", edited=edited)


@pytest.fixture
def make_fact():
    return fact

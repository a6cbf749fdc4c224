"""The sample shop "Noordzee Fietsen": hand-written conversations and CRM records, and how they get into the sandboxes.

Times in `conversations.yaml` are relative to the load (`ago`, `after`: like `2d 4h`, `15m`), so that the samples are
always recent. Nothing in them is about real people: names are made up, addresses end in `.example`, phone numbers are
from ranges that are reserved for fiction or not assigned.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import requests
from ruamel.yaml import YAML

Record = dict[str, Any]
IDS_FILE = "samples.json"  # which sample became which id, in the sandbox's directory
_SPAN = re.compile(r"(\d+)([dhms])")
_UNIT = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TIMEOUT = 60  # seconds for one control call


def seconds(span: str) -> int:
    """``2d 4h`` as seconds. Raises ValueError."""
    parts = span.split()
    found = [_SPAN.fullmatch(part) for part in parts]
    if not parts or None in found:
        raise ValueError(f"{span!r} is not a time span like '2d 4h 10m'")
    return sum(int(m[1]) * _UNIT[m[2]] for m in found if m)


def read(name: str) -> Record:
    """A sample file, `conversations.yaml` or `crm.yaml`."""
    text = files(__name__).joinpath(name).read_text(encoding="utf-8")
    content: Record = YAML(typ="safe").load(text)
    return content


def conversations(now: datetime) -> Record:
    """The conversations as the body of the Chatwoot sandbox's import call, as if loaded at `now`."""
    given = read("conversations.yaml")
    given.pop("later")
    for conversation in given["conversations"]:
        at = now.timestamp() - seconds(conversation.pop("ago"))
        for message in conversation["messages"]:
            at += seconds(message.pop("after", "0s"))
            message["at"] = at
            message["text"] = message["text"] * message.pop("repeat", 1)
    return given


def load_conversations(chatwoot_url: str, directory: Path) -> Record:
    """Import the conversations and note the ids in `directory`/samples.json. Raises requests.RequestException."""
    answer = requests.post(f"{chatwoot_url}/__control/import", json=conversations(datetime.now(UTC)), timeout=_TIMEOUT)
    answer.raise_for_status()
    ids: Record = answer.json()
    (directory / IDS_FILE).write_text(json.dumps(ids))
    return ids


def load_crm(salesforce_url: str, ca: Path) -> dict[str, str]:
    """Seed the CRM records; ids by sample key. Raises requests.RequestException, KeyError for an unknown reference."""
    ids: dict[str, str] = {}
    for group in read("crm.yaml")["objects"]:
        keys = [record.pop("key") for record in group["records"]]
        records = [
            {name: ids[value[1:]] if str(value).startswith("=") else value for name, value in record.items()}
            for record in group["records"]
        ]
        answer = requests.post(
            f"{salesforce_url}/__control/seed",
            json={"object": group["object"], "records": records},
            timeout=_TIMEOUT,
            verify=str(ca),
        )
        answer.raise_for_status()
        ids |= dict(zip(keys, answer.json()["ids"], strict=True))
    return ids


def play_later(chatwoot_url: str, directory: Path) -> list[str]:
    """Do what the `later` section says happens after the load; one line per step for the reader.

    Raises requests.RequestException, and FileNotFoundError when the samples were not loaded from `directory`.
    """
    ids: Record = json.loads((directory / IDS_FILE).read_text())
    told = []
    for step in read("conversations.yaml")["later"]:
        body = {name: value for name, value in step.items() if name not in ("do", "why")}
        if "message" in body:
            body["message_id"] = ids["messages"][body.pop("message")]
        if "conversation" in body:
            body["conversation"] = ids["conversations"][body["conversation"]]
        if "inbox" in body:
            body["inbox"] = ids["inboxes"][body["inbox"]]
        answer = requests.post(f"{chatwoot_url}/__control/{step['do']}", json=body, timeout=_TIMEOUT)
        answer.raise_for_status()
        told.append(step["why"])
    return told

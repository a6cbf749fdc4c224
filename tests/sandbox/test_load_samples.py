"""The sample shop: the files hold together, and both sandboxes take them."""

import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
import requests

from connector.sandbox import samples, serve

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def everyone() -> list[dict[str, Any]]:
    crm = {group["object"]: group["records"] for group in samples.read("crm.yaml")["objects"]}
    return [*crm["Contact"], *crm["Lead"]]


def test_the_samples_are_about_as_many_as_the_demo_promises() -> None:
    given = samples.conversations(NOW)
    texts = [m["text"] for c in given["conversations"] for m in c["messages"]]
    assert len(given["conversations"]) >= 30
    assert 120 <= len(texts) <= 160
    assert max(map(len, texts)) > 4000
    assert all(2 <= len(c["messages"]) <= 8 for c in given["conversations"])
    assert len({c["inbox"] for c in given["conversations"]}) == 8


def test_no_sample_message_lies_in_the_future_whenever_they_are_loaded() -> None:
    times = [m["at"] for c in samples.conversations(NOW)["conversations"] for m in c["messages"]]
    assert max(times) <= NOW.timestamp()


def test_every_address_is_made_up() -> None:
    text = "".join(samples.files(samples.__name__).joinpath(n).read_text() for n in ("conversations.yaml", "crm.yaml"))
    hosts = [word.split("@")[1] for word in text.replace("'", " ").split() if "@" in word.strip("@\"'") and "." in word]
    assert all(".example" in host for host in hosts)


def test_two_people_write_on_two_networks_and_the_crm_knows_both_ends_as_one_contact() -> None:
    contacts = samples.read("conversations.yaml")["contacts"]
    emails = {c["email"].lower() for c in contacts if c.get("email")}
    phones = {c["phone_number"] for c in contacts if c.get("phone_number")}
    both = [p["key"] for p in everyone() if p.get("Email", "").lower() in emails and number(p) in phones]
    assert both == ["jet", "mehmet"]


def number(person: dict[str, Any]) -> str | None:
    written = person.get("MobilePhone") or person.get("Phone")
    if not written:
        return None
    return phonenumbers.format_number(phonenumbers.parse(written, "NL"), phonenumbers.PhoneNumberFormat.E164)


def test_one_person_is_ambiguous_and_one_known_by_name_only() -> None:
    shared = [email for email, n in Counter(p["Email"] for p in everyone() if "Email" in p).items() if n > 1]
    assert shared == ["sophie.martin@courrier.example"]
    tom = next(c for c in samples.read("conversations.yaml")["contacts"] if c["key"] == "tom")
    assert set(tom) == {"key", "name", "identities"}
    assert tom["name"] in [f"{p['FirstName']} {p['LastName']}" for p in everyone()]


def test_crm_owners_are_the_platforms_agents() -> None:
    agents = {a["email"] for a in samples.read("conversations.yaml")["agents"]}
    users = samples.read("crm.yaml")["objects"][0]
    assert (users["object"], {u["Email"] for u in users["records"]}) == ("User", agents)


@pytest.mark.parametrize(("span", "expected"), [("0s", 0), ("15m", 900), ("2d 4h 10m", 187_800)])
def test_a_time_span_is_read(span: str, expected: int) -> None:
    assert samples.seconds(span) == expected


@pytest.mark.parametrize("span", ["", "2 days", "1h30m"])
def test_a_time_span_that_is_none_is_refused(span: str) -> None:
    with pytest.raises(ValueError, match="is not a time span"):
        samples.seconds(span)


def test_both_sandboxes_start_take_the_samples_once_and_end(tmp_path: Path) -> None:
    with serve.running(tmp_path, samples=True) as sandboxes:
        first = counts(sandboxes)
        told = samples.play_later(sandboxes.chatwoot_url, tmp_path)
        assert len(told) == len(samples.read("conversations.yaml")["later"])
        for secret in (sandboxes.chatwoot_token, sandboxes.salesforce_client_secret, sandboxes.salesforce_user_secret):
            assert secret.stat().st_mode & 0o777 == 0o600
    assert all(process.poll() is not None for process in sandboxes.processes)
    assert first["messages"] == sum(len(c["messages"]) for c in samples.conversations(NOW)["conversations"])
    with serve.running(tmp_path, samples=True) as sandboxes:
        second = counts(sandboxes)
        token = {"api-access-token": sandboxes.chatwoot_token.read_text()}
        page = requests.get(
            f"{sandboxes.chatwoot_url}/api/v1/accounts/1/conversations",
            params={"status": "all", "q": "in L zurücklegen"},
            headers=token,
        ).json()
    assert second == {"messages": first["messages"] + 2, "contacts": first["contacts"]}
    assert page["data"]["meta"]["all_count"] == 1


def counts(sandboxes: serve.Sandboxes) -> dict[str, int]:
    stats = requests.get(f"{sandboxes.chatwoot_url}/__control/stats").json()
    found = requests.get(
        f"{sandboxes.salesforce_url}/__control/records/Contact?all=1", verify=str(sandboxes.salesforce_ca)
    ).json()
    return {"messages": stats["messages"], "contacts": len(found["records"])}


def test_serve_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    stop, seen = threading.Event(), []

    def ready(sandboxes: serve.Sandboxes) -> None:
        seen.append(sandboxes)
        assert requests.get(f"{sandboxes.chatwoot_url}/api").json()["version"] == "4.15.1"
        stop.set()

    serve.serve(tmp_path, chatwoot_port=0, salesforce_port=0, samples=False, ready=ready, stop=stop)
    assert all(process.poll() == 0 for process in seen[0].processes)


def test_serve_says_so_when_a_sandbox_ends_by_itself(tmp_path: Path) -> None:
    def ready(sandboxes: serve.Sandboxes) -> None:
        sandboxes.processes[0].kill()

    with pytest.raises(serve.SandboxError, match="sandbox chatwoot ended with code -9"):
        serve.serve(tmp_path, chatwoot_port=0, salesforce_port=0, samples=False, ready=ready)


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        serve.one("chatwoot", tmp_path / "a") as first,
        pytest.raises(serve.SandboxError, match="Address already in use"),
        serve.one("chatwoot", tmp_path / "b", int(first.told["url"].rpartition(":")[2])),
    ):
        raise AssertionError("the port was taken")

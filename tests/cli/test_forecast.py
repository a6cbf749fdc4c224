"""The calls that a plan foresees are those that the sync after it makes: within a tenth, or one call."""

import itertools

import pytest
import requests

from connector.sandbox.serve import running

numbers = itertools.count(61_700_000_001)
CUSTOMERS = 15


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory):
    with running(tmp_path_factory.mktemp("own"), samples=True) as both:
        yield both


@pytest.fixture(scope="module")
def office(tmp_path_factory, sandboxes, site_maker):
    return site_maker(tmp_path_factory.mktemp("office") / "site", sandboxes)


def calls(site) -> dict[str, int]:
    return site.json("status", code=None)[0]["calls_today"]


def foreseen_and_made(site) -> dict[str, tuple[int, int]]:
    """By side."""
    planned = site.json("plan", code=None)[0]["calls"]
    before = calls(site)
    made = site.json("sync", code=None)[0]["calls"]
    assert made == {name: count - before[name] for name, count in calls(site).items()}, "what sync tells is all it used"
    systems = {"platform": "chatwoot", "crm": "salesforce"}
    return {side: (planned[side]["forecast"], made[name]) for side, name in systems.items()}


def check(site) -> None:
    for side, (foreseen, made) in foreseen_and_made(site).items():
        assert abs(foreseen - made) <= max(1, made / 10), f"{side}: {foreseen} foreseen, {made} made"


def agent(site, method: str, path: str, **body) -> None:
    url = f"{site.sandboxes.chatwoot_url}/api/v1/accounts/{site.sandboxes.account_id}/{path}"
    headers = {"Api-Access-Token": site.sandboxes.chatwoot_agent_token.read_text().strip()}
    requests.request(method, url, json=body, headers=headers, timeout=30).raise_for_status()


def crm(site, method: str, path: str, **body) -> dict:
    url, ca = site.sandboxes.salesforce_url, str(site.sandboxes.salesforce_ca)
    secret = site.sandboxes.salesforce_user_secret.read_text().strip()
    data = {"grant_type": "client_credentials", "client_id": "crm-user", "client_secret": secret}
    token = requests.post(f"{url}/services/oauth2/token", data=data, verify=ca, timeout=30).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.request(
        method, f"{url}/services/data/v67.0/{path}", json=body, headers=headers, verify=ca, timeout=30
    )
    answer.raise_for_status()
    return answer.json() if answer.text else {}


def new_customers(site) -> None:
    for n in range(CUSTOMERS):
        site.customer(inbox="WhatsApp", source_id=str(next(numbers)), name=f"New {n}", text="Hello there")


def edited_in_the_crm(site) -> None:
    for row in [row for row in site.crm("Contact") if row.get("SMM_Person_Key__c")][:8]:
        crm(site, "PATCH", f"sobjects/Contact/{row['Id']}", Phone="+31201234567")


def edited_on_the_platform(site) -> None:
    for number in range(1, 8):
        agent(site, "POST", f"conversations/{number}/toggle_priority", priority="high")


def replied(site) -> None:
    for row in site.crm("Social_Conversation__c")[:3]:
        body = {"Conversation__c": row["Id"], "Body__c": f"An answer to {row['Id']}", "Status__c": "Queued"}
        crm(site, "POST", "sobjects/Social_Outbound__c", **body)


def test_the_first_sync_of_a_shop(office):
    check(office)


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(lambda site: None, id="nothing"),
        pytest.param(new_customers, id="new customers"),
        pytest.param(edited_in_the_crm, id="contacts edited in the CRM"),
        pytest.param(edited_on_the_platform, id="priorities set on the platform"),
        pytest.param(replied, id="replies written in the CRM"),
    ],
)
def test_a_sync_when_this_has_happened(office, happens):
    office.run("sync")
    happens(office)
    check(office)


def test_the_rehearsal_leaves_no_trace(office):
    office.run("sync")
    new_customers(office)
    before = office.crm("Task"), office.json("status", code=None)[0]["intents"]
    planned = office.json("plan", "--limit", "0", code=None)[0]
    assert planned["totals"]["crm upsert message"] == CUSTOMERS
    assert (office.crm("Task"), office.json("status", code=None)[0]["intents"]) == before
    again = office.json("plan", "--limit", "0", code=None)[0]
    assert again["writes"] == planned["writes"]
    assert "would now use about" in office.run("plan").stdout

"""A client that nobody here wrote, simple-salesforce, works against the sandbox."""

from typing import Any

import pytest
import requests
from simple_salesforce import Salesforce, format_soql
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceResourceNotFound


@pytest.fixture
def foreign(org: Any) -> Salesforce:
    session = requests.Session()
    session.trust_env = False
    session.verify = str(org.directory / "ca.pem")
    token = str(org.http.headers["Authorization"]).removeprefix("Bearer ")
    return Salesforce(instance_url=org.url, session_id=token, session=session, version="67.0")


def test_it_creates_reads_updates_upserts_and_deletes(foreign: Salesforce, org: Any) -> None:
    made = foreign.Contact.create({"LastName": "Foreign"})
    assert foreign.Contact.get(made["id"])["LastName"] == "Foreign"
    assert foreign.Contact.update(made["id"], {"Title": "Dr"}) == 204
    key = org.unique("foreign")
    assert foreign.Contact.upsert(f"SMM_Person_Key__c/{key}", {"LastName": "Up"}) == 201
    assert foreign.Contact.upsert(f"SMM_Person_Key__c/{key}", {"LastName": "Up"}) == 200
    assert foreign.Contact.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound):
        foreign.Contact.get(made["id"])


def test_it_queries_through_all_pages(foreign: Salesforce, org: Any) -> None:
    org.seed("Lead", *[{"LastName": f"F{i}", "Company": "O'Neil"} for i in range(5)])
    org.control("POST", "settings", {"page_size": 2})
    rows = foreign.query_all(format_soql("SELECT LastName FROM Lead WHERE Company = {}", "O'Neil"))
    assert (rows["totalSize"], len(rows["records"])) == (5, 5)
    assert foreign.api_usage["api-usage"].total == 100_000


def test_it_describes_and_reads_limits(foreign: Salesforce) -> None:
    assert foreign.Task.describe()["name"] == "Task"
    assert "Contact" in [s["name"] for s in foreign.describe()["sobjects"]]
    assert foreign.limits()["DailyApiRequests"]["Max"] == 100_000


def test_it_understands_a_refusal(foreign: Salesforce) -> None:
    with pytest.raises(SalesforceMalformedRequest) as caught:
        foreign.Contact.create({"Email": "no"})
    assert {problem["errorCode"] for problem in caught.value.content} == {"INVALID_EMAIL_ADDRESS"}

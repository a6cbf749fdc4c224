"""The standard objects of the org, with the lengths and flags of the Object Reference, and the rows every org has."""

from dataclasses import replace
from typing import Any

from connector.sandbox.salesforce.schema import Choice, Field, Schema, SObject


def _text(name: str, length: int, **flags: Any) -> Field:
    return Field(name=name, type="string", length=length, **flags)


def _of(kind: str, name: str, **flags: Any) -> Field:
    lengths = {"email": 80, "phone": 40, "url": 255, "textarea": 32000, "picklist": 255, "combobox": 255}
    return Field(name=name, type=kind, **{"length": lengths.get(kind, 0), **flags})


def _long(name: str, length: int = 32000, **flags: Any) -> Field:
    return Field(name=name, type="textarea", length=length, **flags)


def _check(name: str, **flags: Any) -> Field:
    return Field(name=name, type="boolean", nillable=False, default=False, **flags)


def _pick(name: str, *values: str, default: str | None = None, **flags: Any) -> Field:
    choices = tuple(Choice(v, v, v == default) for v in values)
    return Field(name=name, type="picklist", length=255, choices=choices, default=default, **flags)


def _ref(name: str, *to: str, children: str | None = None, **flags: Any) -> Field:
    relationship = name.removesuffix("Id")
    return Field(
        name=name, type="reference", length=18, refers_to=to, relationship=relationship, children=children, **flags
    )


def _read_only(field: Field) -> Field:
    return replace(field, createable=False, updateable=False)


def system_fields() -> list[Field]:
    """The fields that every object has and no client writes."""
    fixed: dict[str, Any] = {"createable": False, "updateable": False, "nillable": False}
    return [
        Field(name="Id", type="id", length=18, id_lookup=True, **fixed),
        Field(name="IsDeleted", type="boolean", default=False, **fixed),
        Field(name="CreatedDate", type="datetime", **fixed),
        _ref("CreatedById", "User", **fixed),
        Field(name="LastModifiedDate", type="datetime", **fixed),
        _ref("LastModifiedById", "User", **fixed),
        Field(name="SystemModstamp", type="datetime", **fixed),
    ]


def _person(name_length: int = 121) -> list[Field]:
    return [
        _text("FirstName", 40),
        _text("LastName", 80, nillable=False),
        _pick("Salutation", "Mr.", "Ms.", "Mrs.", "Dr.", "Prof.", "Mx."),
        _read_only(_text("Name", name_length, nillable=False, calculated=False)),
        _of("email", "Email", id_lookup=True),
        _of("phone", "Phone"),
        _of("phone", "MobilePhone"),
        _text("Title", 128),
        _long("Description"),
        _pick("LeadSource", "Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other"),
        _check("HasOptedOutOfEmail"),
        _check("DoNotCall"),
    ]


def _account() -> list[Field]:
    return [
        _text("Name", 255, nillable=False),
        _pick("Type", "Prospect", "Customer - Direct", "Customer - Channel", "Partner", "Other"),
        _pick("Rating", "Hot", "Warm", "Cold"),
        _of("phone", "Phone"),
        _of("url", "Website"),
        _pick("Industry", "Apparel", "Education", "Energy", "Healthcare", "Retail", "Technology", "Other"),
        _text("AccountNumber", 40),
        _long("Description"),
        _ref("ParentId", "Account", children="ChildAccounts"),
        _ref("OwnerId", "User", nillable=False),
        _read_only(_ref("MasterRecordId", "Account")),
    ]


def _contact() -> list[Field]:
    return [
        *_person(),
        _ref("AccountId", "Account", children="Contacts"),
        _ref("ReportsToId", "Contact"),
        _text("Department", 80),
        _of("phone", "HomePhone"),
        _of("phone", "OtherPhone"),
        _of("date", "Birthdate"),
        _text("MailingCity", 40),
        _text("MailingCountry", 80),
        _ref("OwnerId", "User", nillable=False),
        _read_only(_ref("MasterRecordId", "Contact")),
        _read_only(_check("IsPersonAccount")),
    ]


def _lead() -> list[Field]:
    return [
        *_person(),
        _text("Company", 255, nillable=False),
        _pick(
            "Status", "Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted",
            default="Open - Not Contacted", nillable=False,
        ),
        _pick("Rating", "Hot", "Warm", "Cold"),
        _of("url", "Website"),
        _text("City", 40),
        _text("Country", 80),
        _ref("OwnerId", "User", "Group", nillable=False),
        _read_only(_check("IsConverted")),
        _read_only(_of("date", "ConvertedDate")),
        _read_only(_ref("ConvertedAccountId", "Account")),
        _read_only(_ref("ConvertedContactId", "Contact")),
        _read_only(_ref("ConvertedOpportunityId", "Opportunity")),
        _read_only(_ref("MasterRecordId", "Lead")),
    ]  # fmt: skip


def _task() -> list[Field]:
    return [
        _ref("WhoId", "Contact", "Lead", children="Tasks"),
        _ref("WhatId", "Account", "Opportunity", "Case", children="Tasks"),
        _of("combobox", "Subject", choices=tuple(Choice(v, v) for v in ("Call", "Email", "Send Letter", "Other"))),
        _of("date", "ActivityDate"),
        _pick(
            "Status", "Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred",
            default="Not Started", nillable=False,
        ),
        _pick("Priority", "High", "Normal", "Low", default="Normal", nillable=False),
        _read_only(_check("IsHighPriority")),
        _ref("OwnerId", "User", "Group", nillable=False),
        _long("Description"),
        _pick("Type", "Call", "Email", "Meeting", "Other"),
        _read_only(_ref("AccountId", "Account")),
        _read_only(_check("IsClosed")),
        _read_only(_check("IsArchived")),
        _read_only(_of("datetime", "CompletedDateTime")),
        _pick("TaskSubtype", "Task", "Email", "ListEmail", "Call", "LinkedIn", default="Task", restricted=True,
              updateable=False),
        _of("int", "CallDurationInSeconds", precision=8),
        _pick("CallType", "Internal", "Inbound", "Outbound", restricted=True),
        _text("CallDisposition", 255),
        _text("CallObject", 255),
        _check("IsReminderSet"),
        _of("datetime", "ReminderDateTime"),
        _read_only(_check("IsRecurrence")),
    ]  # fmt: skip


def _event() -> list[Field]:
    return [
        _ref("WhoId", "Contact", "Lead", children="Events"),
        _ref("WhatId", "Account", "Opportunity", "Case", children="Events"),
        _of("combobox", "Subject", choices=(Choice("Call", "Call"), Choice("Meeting", "Meeting"))),
        _of("datetime", "ActivityDateTime", nillable=False),
        _of("int", "DurationInMinutes", precision=8, nillable=False),
        _long("Description"),
        _ref("OwnerId", "User", nillable=False),
        _read_only(_check("IsArchived")),
    ]


def _case() -> list[Field]:
    return [
        _read_only(_text("CaseNumber", 30, nillable=False, auto_number="{00000000}", id_lookup=True)),
        _ref("ContactId", "Contact", children="Cases"),
        _ref("AccountId", "Account", children="Cases"),
        _text("Subject", 255),
        _long("Description"),
        _pick("Status", "New", "Working", "Escalated", "Closed", default="New", nillable=False),
        _pick("Origin", "Phone", "Email", "Web", "Social"),
        _pick("Priority", "High", "Medium", "Low", default="Medium"),
        _pick("Type", "Question", "Problem", "Feature Request"),
        _read_only(_check("IsClosed")),
        _read_only(_of("datetime", "ClosedDate")),
        _ref("OwnerId", "User", "Group", nillable=False),
        _read_only(_ref("MasterRecordId", "Case")),
    ]


def _opportunity() -> list[Field]:
    return [
        _text("Name", 120, nillable=False),
        _ref("AccountId", "Account", children="Opportunities"),
        _pick("StageName", "Prospecting", "Qualification", "Proposal", "Closed Won", "Closed Lost", nillable=False),
        _of("date", "CloseDate", nillable=False),
        _of("currency", "Amount", precision=18, scale=2),
        _read_only(_check("IsClosed")),
        _read_only(_check("IsWon")),
        _ref("OwnerId", "User", nillable=False),
    ]


def _user() -> list[Field]:
    return [
        _text("Username", 80, nillable=False, unique=True, id_lookup=True),
        _text("FirstName", 40),
        _text("LastName", 80, nillable=False),
        _read_only(_text("Name", 121, nillable=False)),
        _of("email", "Email", nillable=False, length=128),
        _text("Alias", 8),
        _text("Title", 80),
        _check("IsActive"),
        _text("FederationIdentifier", 512),
        _pick("UserType", "Standard", "AutomatedProcess", default="Standard"),
        _text("TimeZoneSidKey", 40),
    ]


def _status_rows(*flags: str) -> list[Field]:
    """TaskStatus and TaskPriority: the org's own values of a Task picklist."""
    return [
        _text("MasterLabel", 255, nillable=False),
        _text("ApiName", 255, nillable=False),
        _of("int", "SortOrder", precision=8),
        *[_check(flag) for flag in flags],
    ]


def standard_schema() -> Schema:
    """The standard part of the org's data model; `sfdx.extend` adds the custom part."""
    schema = Schema()

    def add(name: str, plural: str, prefix: str, fields: list[Field], **flags: bool) -> None:
        sobject = SObject(name=name, label=name, plural=plural, prefix=prefix, **flags)  # type: ignore[arg-type]
        sobject.add(system_fields())
        sobject.add(replace(f, label=f.label or f.name) for f in fields)
        schema.add(sobject)

    add("Account", "Accounts", "001", _account(), activities=True)
    add("Contact", "Contacts", "003", _contact(), activities=True)
    add("Lead", "Leads", "00Q", _lead(), activities=True)
    add("Task", "Tasks", "00T", _task())
    add("Event", "Events", "00U", _event())
    add("Case", "Cases", "500", _case(), activities=True)
    add("Opportunity", "Opportunities", "006", _opportunity(), activities=True)
    add("User", "People", "005", _user(), setup=True)
    add("Group", "Groups", "00G", [_text("Name", 40, nillable=False), _text("DeveloperName", 80),
        _pick("Type", "Regular", "Queue", default="Regular"), _of("email", "Email")], setup=True)  # fmt: skip
    add("Organization", "Organizations", "00D", [_text("Name", 80, nillable=False), _check("IsSandbox"),
        _text("OrganizationType", 40), _text("InstanceName", 5), _text("TimeZoneSidKey", 40)], setup=True)  # fmt: skip
    add("TaskStatus", "Task Status Value", "01W", _status_rows("IsClosed", "IsDefault"), setup=True)
    add("TaskPriority", "Task Priority Value", "01U", _status_rows("IsHighPriority", "IsDefault"), setup=True)
    return schema


ADMIN, INTEGRATION, HUMAN = "admin@acme.example", "integration@acme.example", "dana@acme.example"


def first_rows() -> list[tuple[str, dict[str, Any]]]:
    """(object, values) of the rows a new org starts with; the first row is the admin, who makes the others."""

    def user(username: str, first: str, last: str, title: str) -> tuple[str, dict[str, Any]]:
        names = {"FirstName": first, "LastName": last, "Alias": last[:8].lower(), "Title": title}
        return "User", names | {"Username": username, "Email": username, "IsActive": True}

    rows = [
        user(ADMIN, "Avery", "Admin", "Administrator"),
        user(INTEGRATION, "Connector", "Integration", "Integration user"),
        user(HUMAN, "Dana", "Visser", "Service agent"),
        ("Organization", {"Name": "Acme", "OrganizationType": "Developer Edition", "InstanceName": "NL1"}),
        ("Group", {"Name": "Social Queue", "DeveloperName": "Social_Queue", "Type": "Queue"}),
    ]
    statuses = ("Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred")
    for order, label in enumerate(statuses, 1):
        flags = {"IsClosed": label == "Completed", "IsDefault": order == 1}
        rows.append(("TaskStatus", {"MasterLabel": label, "ApiName": label, "SortOrder": order} | flags))
    for order, label in enumerate(("High", "Normal", "Low"), 1):
        flags = {"IsHighPriority": label == "High", "IsDefault": label == "Normal"}
        rows.append(("TaskPriority", {"MasterLabel": label, "ApiName": label, "SortOrder": order} | flags))
    return rows

"""The Salesforce DX source: complete, well-formed, and readable for the integration user."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from connector.sandbox.salesforce.sfdx import SourceError, extend, locate
from connector.sandbox.salesforce.standard import standard_schema

ROOT = Path(__file__).parents[3] / "salesforce"
MAIN = ROOT / "force-app" / "main" / "default"
NS = "{http://soap.sforce.com/2006/04/metadata}"
FIELDS = sorted(MAIN.glob("objects/*/fields/*.field-meta.xml"))


def named_fields() -> set[str]:
    """Every field as permission sets name it: custom activity fields belong to Task and Event."""
    found = set()
    for path in FIELDS:
        sobject, name = path.parts[-3], path.name.removesuffix(".field-meta.xml")
        found |= {f"{owner}.{name}" for owner in (("Task", "Event") if sobject == "Activity" else (sobject,))}
    return found


def field_permissions(name: str) -> dict[str, tuple[bool, bool]]:
    root = ElementTree.parse(MAIN / f"permissionsets/{name}.permissionset-meta.xml").getroot()
    return {
        str(one.findtext(NS + "field")): (
            one.findtext(NS + "readable") == "true",
            one.findtext(NS + "editable") == "true",
        )
        for one in root.iter(NS + "fieldPermissions")
    }


@pytest.mark.parametrize("path", sorted(MAIN.rglob("*.xml")), ids=lambda p: p.name)
def test_every_file_is_well_formed_metadata(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    assert root.tag.startswith(NS)


@pytest.mark.parametrize("path", FIELDS, ids=lambda p: f"{p.parts[-3]}.{p.name}")
def test_a_field_file_is_named_after_its_field(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    assert f"{root.findtext(NS + 'fullName')}.field-meta.xml" == path.name
    assert root.findtext(NS + "description")


def test_custom_activity_fields_are_not_deployed_under_task_or_event() -> None:
    assert not (MAIN / "objects/Task").exists()
    assert not (MAIN / "objects/Event").exists()


def test_the_integration_user_reads_and_writes_every_field() -> None:
    permissions = field_permissions("SMM_Sync_Integration")
    assert set(permissions) == named_fields()
    assert set(permissions.values()) == {(True, True)}


def test_the_crm_user_reads_every_field_and_writes_only_what_flows_back() -> None:
    permissions = field_permissions("SMM_Sync_User")
    assert set(permissions) == named_fields()
    writable = {name for name, (_, editable) in permissions.items() if editable}
    assert "Social_Conversation__c.Status__c" in writable
    assert not any("SMM_" in name for name in writable)


@pytest.mark.parametrize("name", ["SMM_Sync_Integration", "SMM_Sync_User"])
def test_field_permissions_come_with_read_access_to_their_object(name: str) -> None:
    root = ElementTree.parse(MAIN / f"permissionsets/{name}.permissionset-meta.xml").getroot()
    readable = {
        one.findtext(NS + "object")
        for one in root.iter(NS + "objectPermissions")
        if one.findtext(NS + "allowRead") == "true"
    }
    # Tasks and events have no object permissions of their own; reading contacts needs reading accounts.
    needed = {field.partition(".")[0] for field in field_permissions(name)} - {"Task", "Event"} | {"Account"}
    assert needed <= readable


def test_every_custom_object_has_a_tab_and_a_list_view() -> None:
    for folder in MAIN.glob("objects/*__c"):
        assert (MAIN / f"tabs/{folder.name}.tab-meta.xml").is_file()
        assert list((folder / "listViews").glob("*.listView-meta.xml"))


def test_list_views_show_only_fields_that_exist() -> None:
    for path in MAIN.rglob("*.listView-meta.xml"):
        names = {p.name.removesuffix(".field-meta.xml") for p in (path.parents[1] / "fields").glob("*")}
        root = ElementTree.parse(path).getroot()
        shown = {e.text or "" for e in [*root.iter(NS + "columns"), *root.iter(NS + "field")]}
        assert {name for name in shown if name.endswith("__c")} <= names


@pytest.mark.parametrize("name", ["Task", "Event", "Contact", "Lead", "Social_Conversation__c", "Social_Identity__c"])
def test_message_and_person_keys_are_unique_case_sensitive_external_ids(name: str) -> None:
    schema = standard_schema()
    extend(schema, locate())
    keys = {"Contact": "SMM_Person_Key__c", "Lead": "SMM_Person_Key__c", "Social_Identity__c": "SMM_Identity_Key__c"}
    keys["Social_Conversation__c"] = "SMM_Conversation_Key__c"
    field = schema[name].get(keys.get(name, "SMM_Message_Key__c"))
    assert field is not None
    assert (field.unique, field.case_sensitive, field.external_id, field.length) == (True, True, True, 255)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<CustomField", "field-meta.xml"),
        (f"<CustomField xmlns='{NS[1:-1]}'><fullName>A__c</fullName><type>Hologram</type></CustomField>", "Hologram"),
    ],
    ids=["broken XML", "unknown field type"],
)
def test_a_field_file_that_cannot_be_used_is_named(tmp_path: Path, content: str, reason: str) -> None:
    folder = tmp_path / "force-app/main/default/objects/Contact/fields"
    folder.mkdir(parents=True)
    (folder / "A__c.field-meta.xml").write_text(content)
    with pytest.raises(SourceError, match=reason):
        extend(standard_schema(), tmp_path)

"""Describe: objects and fields as the API tells them, with the flags that a client decides by."""

from typing import Any

from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.schema import Field, SObject

_SOAP = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
}


def summary(sobject: SObject, version: float) -> dict[str, Any]:
    """The object's entry in the list of all objects."""
    base = f"/services/data/v{version}/sobjects/{sobject.name}"
    writable = not sobject.setup
    return {
        "name": sobject.name,
        "label": sobject.label,
        "labelPlural": sobject.plural,
        "keyPrefix": sobject.prefix,
        "custom": sobject.custom,
        "customSetting": False,
        "activateable": False,
        "createable": writable,
        "updateable": writable,
        "deletable": writable,
        "undeletable": writable,
        "mergeable": sobject.name in ("Account", "Contact", "Lead", "Case"),
        "queryable": True,
        "retrieveable": True,
        "searchable": writable,
        "replicateable": writable,
        "triggerable": writable,
        "layoutable": writable,
        "feedEnabled": False,
        "hasSubtypes": False,
        "isSubtype": False,
        "urls": {"sobject": base, "describe": f"{base}/describe", "rowTemplate": base + "/{ID}"},
    }


def describe(org: Org, sobject: SObject, version: float) -> dict[str, Any]:
    """The object with every field the caller may see and the objects that look up to it."""
    children = [
        {
            "childSObject": child.name,
            "field": field.name,
            "relationshipName": field.children,
            "cascadeDelete": field.name in ("WhoId", "WhatId"),
            "deprecatedAndHidden": False,
            "restrictedDelete": False,
        }
        for child, field in org.schema.references_to(sobject.name)
    ]
    return summary(sobject, version) | {
        "fields": [_field(field) for field in org.visible_fields(sobject)],
        "childRelationships": children,
        "recordTypeInfos": [
            {
                "name": "Master",
                "developerName": "Master",
                "recordTypeId": "012000000000000AAA",
                "active": True,
                "available": True,
                "defaultRecordTypeMapping": True,
                "master": True,
            }
        ],
    }


def _field(field: Field) -> dict[str, Any]:
    comparable = not field.long_text
    digits = field.precision if field.type == "int" else 0
    return {
        "name": field.name,
        "label": field.label or field.name,
        "type": field.type,
        "soapType": _SOAP.get(field.type, "xsd:string"),
        "length": field.length,
        "byteLength": field.length * 3,
        "digits": digits,
        "precision": 0 if digits else field.precision,
        "scale": field.scale,
        "createable": field.createable,
        "updateable": field.updateable,
        "nillable": field.nillable,
        "defaultedOnCreate": field.defaulted
        or field.name in ("Id", "CreatedDate", "LastModifiedDate", "SystemModstamp"),
        "defaultValue": field.default if field.type == "boolean" else None,
        "calculated": field.calculated,
        "autoNumber": field.auto_number is not None,
        "custom": field.custom,
        "unique": field.unique,
        "caseSensitive": field.case_sensitive,
        "externalId": field.external_id,
        "idLookup": field.id_lookup,
        "filterable": comparable,
        "sortable": comparable,
        "groupable": comparable and field.type not in ("datetime", "double", "currency"),
        "aggregatable": comparable and field.type != "boolean",
        "nameField": field.name in ("Name", "CaseNumber", "Subject"),
        "restrictedPicklist": field.restricted,
        "dependentPicklist": False,
        "controllerName": None,
        "picklistValues": [
            {"value": c.value, "label": c.label, "active": c.active, "defaultValue": c.default, "validFor": None}
            for c in field.choices
        ],
        "referenceTo": list(field.refers_to),
        "relationshipName": field.relationship,
        "polymorphicForeignKey": field.polymorphic,
        "namePointing": field.polymorphic,
        "compoundFieldName": None,
        "htmlFormatted": False,
        "encrypted": False,
        "permissionable": field.custom,
        "extraTypeInfo": "plaintextarea" if field.long_text else None,
        "inlineHelpText": None,
    }

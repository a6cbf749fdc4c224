"""The custom part of the data model, read from the Salesforce DX source files that an admin deploys to a real org."""

from pathlib import Path
from xml.etree import ElementTree

from connector.sandbox.salesforce.schema import Choice, Field, Schema, SObject
from connector.sandbox.salesforce.standard import system_fields

_NS = "{http://soap.sforce.com/2006/04/metadata}"
_TYPES = {
    "Text": "string",
    "TextArea": "textarea",
    "LongTextArea": "textarea",
    "Url": "url",
    "Email": "email",
    "Phone": "phone",
    "DateTime": "datetime",
    "Date": "date",
    "Checkbox": "boolean",
    "Number": "double",
    "Picklist": "picklist",
    "Lookup": "reference",
}
# Lengths that the metadata does not name because the platform fixes them ("Custom Field Types", Salesforce Help).
_LENGTHS = {"Url": 255, "Email": 80, "Phone": 40, "TextArea": 255, "Picklist": 255, "Lookup": 18}


class SourceError(ValueError):
    """A source file cannot be used; the text names the file and the reason."""


def locate() -> Path:
    """The source folder: next to the package in a checkout, inside it when installed. Raises SourceError."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package.parent / "salesforce", package / "salesforce"):
        if (folder / "sfdx-project.json").is_file():
            return folder
    raise SourceError(f"no Salesforce DX source (sfdx-project.json) in {package.parent}: name the folder with --schema")


def extend(schema: Schema, source: Path) -> None:
    """Add the objects and fields of the source folder to the standard ones. Raises SourceError."""
    objects = source / "force-app" / "main" / "default" / "objects"
    if not objects.is_dir():
        raise SourceError(f"{objects}: no such folder; --schema must name a folder with sfdx-project.json")
    folders = sorted(p for p in objects.iterdir() if p.is_dir())
    custom = [f for f in folders if f.name.endswith("__c")]
    for number, folder in enumerate(custom):
        schema.add(_custom_object(folder, f"a0{number}"))
    for folder in folders:
        fields = [_field(path) for path in sorted((folder / "fields").glob("*.field-meta.xml"))]
        # A custom field of Activity belongs to Task and Event alike ("Task", Object Reference).
        names = ("Task", "Event") if folder.name == "Activity" else (folder.name,)
        for name in names:
            sobject = schema.get(name)
            if sobject is None:
                raise SourceError(f"{folder}: the sandbox has no object {name}")
            sobject.add(fields)


def _parse(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise SourceError(f"{path}: {error}") from error


def _text(element: ElementTree.Element, name: str, default: str = "") -> str:
    return (element.findtext(_NS + name) or default).strip()


def _flag(element: ElementTree.Element, name: str) -> bool:
    return _text(element, name) == "true"


def _custom_object(folder: Path, prefix: str) -> SObject:
    root = _parse(folder / f"{folder.name}.object-meta.xml")
    name_field = root.find(_NS + "nameField")
    if name_field is None:
        raise SourceError(f"{folder}: the object has no nameField")
    sobject = SObject(
        name=folder.name,
        label=_text(root, "label"),
        plural=_text(root, "pluralLabel"),
        prefix=prefix,
        custom=True,
        activities=_flag(root, "enableActivities"),
    )
    sobject.add(system_fields())
    label = _text(name_field, "label")
    if _text(name_field, "type") == "AutoNumber":
        number = _text(name_field, "displayFormat")
        name = Field(
            name="Name", type="string", label=label, length=80, createable=False, updateable=False, nillable=False,
            auto_number=number, id_lookup=True,
        )  # fmt: skip
    else:
        # A custom object's text name falls back to the record id when it is left out.
        name = Field(name="Name", type="string", label=label, length=80, id_lookup=True)
    sobject.add([name])
    return sobject


def _field(path: Path) -> Field:
    root = _parse(path)
    kind = _text(root, "type")
    if kind not in _TYPES:
        raise SourceError(f"{path}: the sandbox does not know the field type {kind!r}")
    name = _text(root, "fullName")
    reference = _text(root, "referenceTo")
    children = _text(root, "relationshipName")
    choices = tuple(
        Choice(
            _text(value, "fullName"),
            _text(value, "label"),
            _flag(value, "default"),
            _text(value, "isActive") != "false",
        )
        for value in root.iter(_NS + "value")
    )
    return Field(
        name=name,
        type=_TYPES[kind],
        label=_text(root, "label"),
        length=int(_text(root, "length", "0")) or _LENGTHS.get(kind, 0),
        precision=int(_text(root, "precision", "0")),
        scale=int(_text(root, "scale", "0")),
        nillable=not _flag(root, "required") and kind != "Checkbox",
        default=next((c.value for c in choices if c.default), False if kind == "Checkbox" else None),
        unique=_flag(root, "unique"),
        case_sensitive=_flag(root, "caseSensitive"),
        external_id=_flag(root, "externalId"),
        id_lookup=_flag(root, "externalId"),
        choices=choices,
        restricted=any(_flag(v, "restricted") for v in root.iter(_NS + "valueSet")),
        refers_to=(reference,) if reference else (),
        relationship=name.removesuffix("__c") + "__r" if reference else None,
        children=children + "__r" if children else None,
        custom=True,
    )

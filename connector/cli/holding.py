"""`connector holds`: what a person has to settle."""

import getpass
from typing import Annotated, Any

import typer

from connector.app import Plug
from connector.cli.shared import Json, clean, counted, options, plain, print_json, say, short, table
from connector.errors import ConnectorError, StoreError
from connector.model import Fields, Hold, HoldType, Ref
from connector.service.settling import settle as settle_hold
from connector.sync.holds import choices

app = typer.Typer(
    help="List, show and settle what only a person can decide.", no_args_is_help=True, rich_markup_mode=None
)
Id = Annotated[int, typer.Argument(help="The hold's number, as `connector holds list` shows it.", metavar="ID")]


@app.command("list")
def list_(
    context: typer.Context,
    type_: Annotated[HoldType | None, typer.Option("--type", help="Only holds of this type.")] = None,
    as_json: Json = False,
) -> None:
    """List the open holds, oldest first."""
    given = options(context)
    with given.opened() as connector:
        found = [
            (plug.name, hold)
            for plug in connector.chosen(given.connection)
            for hold in plug.ledger.open_holds(type=type_)
        ]
    if as_json:
        print_json([as_data(name, hold) for name, hold in found])
        return
    table(
        "open holds",
        ("id", "connection", "type", "record", "question", "since"),
        [(hold.id, name, hold.type, hold.subject, short(hold.question, 100), hold.opened_at) for name, hold in found],
    )
    say(f"{counted(len(found), 'open hold')}." + (" `connector holds show ID` tells more." if found else ""))


@app.command("show")
def show(context: typer.Context, id_: Id, as_json: Json = False) -> None:
    """Show one hold: the question, the evidence with what the CRM's candidates show, and the choices."""
    given = options(context)
    with given.opened() as connector:
        plug, hold = _find(connector.chosen(given.connection), id_)
    if as_json:
        print_json(as_data(plug.name, hold))
        return
    say(f"hold {hold.id} ({hold.type}) of connection {plug.name}", "bold")
    say(hold.question)
    say(f"about {hold.subject}{', ' + hold.field if hold.field else ''}, open since {clean(hold.opened_at)}")
    candidates = hold.details.get("candidates") or []
    table(
        "candidates",
        ("record", "shows", "points", "reasons"),
        [(one["ref"], _told(one.get("shows") or {}), one["points"], "; ".join(one["reasons"])) for one in candidates],
    )
    rest = [
        (name, _told(value) if isinstance(value, dict) else short(value, 160))
        for name, value in hold.details.items()
        if name != "candidates" and (value or hold.type is HoldType.CONFLICT)
    ]
    table("details", ("what", "value"), rest)
    if hold.choice is None:
        say("choices: " + ", ".join(choices(hold)))
        say(f'connector holds settle {hold.id} --choice … --because "…"')
    else:
        say(f"settled by {hold.by} at {clean(hold.settled_at)}: {hold.choice} ({hold.why})")


@app.command("settle")
def settle(
    context: typer.Context,
    id_: Id,
    choice: Annotated[
        str,
        typer.Option(
            help="identity: a CRM record, create, never; conflict: platform, crm, keep; refused: retry, drop; "
            "in_doubt: sent, again, drop; conversation: a conversation of the platform, drop."
        ),
    ],
    because: Annotated[str, typer.Option(help="Why; kept with the decision.")],
    by: Annotated[str | None, typer.Option(help="Who decides. Default: the login name.")] = None,
    message: Annotated[
        str | None,
        typer.Option(help="With --choice sent: the message on the platform, system:message:id.", metavar="REF"),
    ] = None,
) -> None:
    """Settle a hold. The next sync carries the decision out."""
    given = options(context)
    if not because.strip():
        raise typer.BadParameter("say why, in a few words", param_hint="--because")
    with given.opened() as connector:
        plug, hold = _find(connector.chosen(given.connection), id_)
        settled = settle_hold(
            plug, hold.id, plug.spelled(choice), by or getpass.getuser(), because.strip(), _ref(message)
        )
    say(f"Hold {settled.id} is settled: {settled.choice}. The next sync carries it out.")


def _told(fields: Fields) -> str:
    return "; ".join(f"{name}: {short(value, 80)}" for name, value in fields.items() if value not in (None, "", []))


def _ref(text: str | None) -> Ref | None:
    try:
        return Ref.parse(text) if text else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--message") from None


def _find(plugs: list[Plug], id_: int) -> tuple[Plug, Hold]:
    """A hold by its number, which is unique over all connections of a store. Raises ConnectorError."""
    for plug in plugs:
        try:
            return plug, plug.ledger.hold(id_)
        except StoreError:
            continue
    raise ConnectorError(f"There is no hold {id_}.", "`connector holds list` shows the open ones.")


def as_data(connection: str, hold: Hold) -> dict[str, Any]:
    return {"connection": connection, **plain(hold), "choices": choices(hold) if hold.choice is None else []}

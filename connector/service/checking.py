"""Does a connection fit both systems as they are now? Reads both sides, writes nothing, reports everything at once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from connector.adapters.base import Account, Adapter, Capabilities, ObjectInfo, TellsWebhooks
from connector.app import Joined, Plug
from connector.config import Config
from connector.errors import ConfigError, Problem, RemoteError, SchemaDrift
from connector.mapping.check import check, objects
from connector.mapping.source import Place, did_you_mean
from connector.model import Kind, Side
from connector.store.entries import Pins


@dataclass
class Checked:
    """What was found: who we are on each side (as far as we got in), and the findings in the order of the files."""

    connection: str
    accounts: dict[Side, Account] = field(default_factory=dict)
    findings: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)


def check_connection(joined: Joined, schedule: Mapping[str, timedelta], schedule_place: Place) -> Checked:
    """All findings. Raises ConfigError when a secret is missing; what the systems say becomes a finding."""
    plug, found = joined.plug, Checked(joined.plug.name)
    adapters = {Side.PLATFORM: joined.platform, Side.CRM: joined.crm}
    kinds = [kind.value for kind in Kind if kind in joined.platform.capabilities.readable]
    wanted = {Side.PLATFORM: kinds, Side.CRM: objects(plug.file)}
    described: dict[Side, dict[str, ObjectInfo]] = {}
    users: dict[Side, set[str]] = {}
    for side, adapter in adapters.items():
        try:
            found.accounts[side] = adapter.check()
            users[side] = {user.email for user in adapter.users() if user.email}
            described[side] = _described(adapter, wanted[side])
        except RemoteError as error:
            found.findings += _remote(plug, side, error)
    found.findings += pin_findings(plug, plug.ledger.pins(), found.accounts)
    found.findings += _webhooks(plug, joined.platform, answers=Side.PLATFORM in found.accounts)
    found.findings += unknown_streams([one.capabilities for one in adapters.values()], schedule, schedule_place)
    found.findings += check(
        plug.file,
        described.get(Side.CRM),
        described.get(Side.PLATFORM, {}),
        joined.crm.capabilities,
        joined.platform.capabilities,
        users[Side.PLATFORM] & users[Side.CRM] if len(users) == len(adapters) else None,
    )
    return found


def pin_findings(plug: Plug, pins: Pins | None, accounts: Mapping[Side, Account]) -> Iterator[Problem]:
    """Another account than the one this connection was first used with, or a mapping that nobody has approved. Pure."""
    if pins is None:
        return
    for side, pinned, given in pins.mismatches({side: account.id for side, account in accounts.items()}):
        yield plug.config.place.at(side.value).problem(
            f"this connection belongs to {pinned}, but the credentials lead to {given}.",
            "Use the right credentials, or give the other account a connection name of its own.",
        )
    if pins.mapping_digest != plug.mapping.digest:
        yield plug.file.place.problem(
            "the mapping has changed since it was approved; nothing is synced with it yet.",
            "Look at `connector plan`, then allow it with `connector plan --approve`.",
            "warning",
        )


def check_schedule(plugs: Iterable[Plug], config: Config) -> None:
    """Raises ConfigError for names in the config's schedule that nothing reads."""
    problems = list(
        unknown_streams([can for plug in plugs for can in plug.capabilities.values()], config.schedule, config.place)
    )
    if problems:
        raise ConfigError(problems)


def unknown_streams(
    capabilities: Iterable[Capabilities], schedule: Mapping[str, timedelta], place: Place
) -> Iterator[Problem]:
    """Names in the config's schedule that no adapter reads. Pure."""
    known = {stream.name for can in capabilities for stream in can.streams}
    for name in schedule:
        if name not in known:
            yield place.at("schedule", name).problem(f"there is no stream {name!r}.", did_you_mean(name, known))


def _webhooks(plug: Plug, platform: Adapter, *, answers: bool) -> Iterator[Problem]:
    """`answers`: the platform let us in, so that it can be asked what it calls."""
    here, path = plug.config.place.at("platform"), f"/webhooks/{plug.name}"
    if platform.capabilities.webhooks and plug.config.platform.webhook_secret is None:
        yield here.problem(
            "no webhook_secret, so webhooks are refused and new messages arrive by polling only.",
            f"Point a webhook of {platform.system} at {path} of this service and name its secret.",
            "warning",
        )
    elif answers and isinstance(platform, TellsWebhooks):
        try:
            misfit = platform.webhook_misfit(path)
        except RemoteError as error:
            misfit = error.message, error.way_out
        if misfit:
            yield here.at("webhook_secret").problem(*misfit, "warning")


def _described(adapter: Adapter, names: Iterable[str]) -> dict[str, ObjectInfo]:
    """The descriptions of those objects that exist; the mapping check says which ones are missing, and where."""
    found = {}
    for name in names:
        try:
            found[name] = adapter.describe(name)
        except SchemaDrift:
            continue
    return found


def _remote(plug: Plug, side: Side, error: RemoteError) -> Iterator[Problem]:
    here = plug.config.place.at(side.value)
    yield here.problem(error.message, error.way_out)
    message = f"the mapping was not checked against {plug.systems[side]}, which could not be read."
    yield here.problem(message, "Check again when it can.", "warning")

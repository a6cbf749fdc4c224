"""A webhook of Chatwoot: is it genuine, and which refs does it speak of? Pure but for the time that is passed in.

Facts: Chatwoot 4.15.1 source (`lib/webhooks/trigger.rb`): `X-Chatwoot-Signature` is `sha256=` and the hex HMAC-SHA256 of
`<X-Chatwoot-Timestamp>.<raw body>`; account webhooks are signed since 4.11.2.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from connector.adapters.chatwoot import canonical
from connector.adapters.chatwoot.client import SYSTEM, Json
from connector.errors import AuthError, Unreadable
from connector.model import Hint, Ref

MAX_AGE = timedelta(minutes=5)
"""An older (or later) timestamp is refused: a recorded delivery cannot be played again for longer than this."""

EVENTS = (
    "conversation_created", "conversation_status_changed", "conversation_updated",
    "message_created", "message_updated", "contact_created", "contact_updated",
)  # fmt: skip
"""What to subscribe to. Typing says nothing; `inbox_*` payloads may carry network credentials."""

ACTIVITY_ONLY = {"last_activity_at", "updated_at"}


def misfit(hooks: Sequence[Json], path: str, secret: str | None) -> tuple[str, str] | None:
    """Why none of the account's webhooks reaches an address that ends with `path` as it should, and the way out. Addresses are
    not quoted: they may hold a password."""
    ours = [hook for hook in hooks if urlsplit(str(hook["url"])).path.rstrip("/").endswith(path)]
    if not ours:
        return (
            f"no webhook of Chatwoot leads to {path}, so new messages arrive by polling only.",
            f"Add one under Settings → Integrations → Webhooks: https://<public address of this service>{path}.",
        )
    signed = [hook for hook in ours if hook.get("secret") in (None, secret)]
    if not signed:
        return (
            f"the webhook to {path} has another secret than webhook_secret, so what it says is refused.",
            "Copy the secret that Chatwoot shows for it into the place that webhook_secret names.",
        )
    missing = min(([name for name in EVENTS if name not in hook["subscriptions"]] for hook in signed), key=len)
    if missing:
        return f"the webhook to {path} does not tell of {', '.join(missing)}.", "Tick these events in Chatwoot."
    return None


def verify(headers: Mapping[str, str], body: bytes, secret: str | None, now: datetime) -> None:
    """Raises AuthError when the signature does not fit, is missing, or is too old, and when there is no secret."""
    if not secret:
        raise AuthError(
            SYSTEM,
            "webhook",
            "a webhook came, but no webhook secret is configured.",
            "Set `webhook_secret` in the config.",
        )
    given = {name.lower(): value for name, value in headers.items()}
    timestamp = given.get("x-chatwoot-timestamp", "")
    wanted = "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(given.get("x-chatwoot-signature", "").encode(), wanted.encode()):
        raise AuthError(
            SYSTEM,
            "webhook",
            "the webhook's signature does not fit.",
            "Compare `webhook_secret` with the secret that Chatwoot shows for this webhook.",
        )
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(now.timestamp() - int(timestamp)) > MAX_AGE.total_seconds():
        raise AuthError(SYSTEM, "webhook", "the webhook is too old.", "Check the clocks of both servers.")


def read(body: bytes, account: int) -> list[Hint]:
    """The refs that a genuine webhook speaks of, parents first; none for events that say nothing and other accounts."""
    try:
        data = json.loads(body)
        event = str(data["event"])
        if data.get("account", {}).get("id", account) != account:
            return []
        return [Hint(ref) for ref in _refs(event, data)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(SYSTEM, "webhook", "the webhook's body is not what Chatwoot documents.") from error


def _refs(event: str, data: Json) -> list[Ref]:
    if event not in EVENTS:
        return []
    if event.startswith("message_"):
        number = _number(data["conversation"]["id"])
        return [canonical.conversation_ref(number), canonical.message_ref(number, _number(data["id"]))]
    if event == "conversation_created":
        # Its person may be as new as itself, and `contact_created` may come later or not at all.
        sender = (data.get("meta") or {}).get("sender") or {}
        people = [canonical.person_ref(_number(sender["id"]))] if "id" in sender else []
        return [*people, canonical.conversation_ref(_number(data["id"]))]
    if event.startswith("conversation_"):
        return [canonical.conversation_ref(_number(data["id"]))]
    changed = {key for change in data.get("changed_attributes") or [] for key in change}
    if event == "contact_updated" and changed and changed <= ACTIVITY_ONLY:
        return []
    return [canonical.person_ref(_number(data["id"]))]


def _number(value: object) -> int:
    """A record's number. Raises ValueError on anything else: it becomes a ref, and the ref a part of an address."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 63:
        raise ValueError("an id is a whole number")
    return value

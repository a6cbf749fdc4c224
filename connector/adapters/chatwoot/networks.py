"""Which network a channel is, and who somebody is there. Pure.

Facts: Chatwoot 4.15.1 source (`app/models/channel/*`, `app/services/*/incoming_message*`). What `source_id` means differs by
channel: a page-scoped user id, a phone number, on TikTok a conversation.
"""

from dataclasses import dataclass

from connector.adapters.chatwoot.client import Json

NETWORKS = {
    "Channel::FacebookPage": "facebook",
    "Channel::Instagram": "instagram",
    "Channel::Whatsapp": "whatsapp",
    "Channel::TwilioSms": "sms",
    "Channel::Telegram": "telegram",
    "Channel::Line": "line",
    "Channel::Tiktok": "tiktok",
    "Channel::TwitterProfile": "twitter",
    "Channel::Email": "email",
    "Channel::Sms": "sms",
    "Channel::WebWidget": "web",
    "Channel::Api": "api",
}

INSTAGRAM_VIA_PAGE = "instagram_direct_message"

PROFILES = {
    "instagram": "https://www.instagram.com/{}/",
    "twitter": "https://x.com/{}",
    "telegram": "https://t.me/{}",
    "tiktok": "https://www.tiktok.com/@{}",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a contact is on one network."""

    network: str
    user_id: str
    handle: str | None = None
    profile_url: str | None = None
    followers: int | None = None

    @property
    def key(self) -> str:
        return f"{self.network}:{self.user_id}"


def network_of(
    channel: str, *, conversation: Json | None = None, inbox: Json | None = None, source_id: str = ""
) -> str:
    """The network as a lower-case word. Instagram can come in through a Facebook page, WhatsApp through Twilio."""
    if channel == "Channel::FacebookPage" and (conversation or {}).get("type") == INSTAGRAM_VIA_PAGE:
        return "instagram"
    if channel == "Channel::TwilioSms" and (
        (inbox or {}).get("medium") == "whatsapp" or source_id.startswith("whatsapp:")
    ):
        return "whatsapp"
    return NETWORKS.get(channel) or channel.rpartition("::")[2].lower() or "unknown"


def identities_of(contact: Json) -> list[Identity]:
    """One identity per network user, in the order of their keys; a number known to two inboxes is one identity."""
    rows = contact.get("contact_inboxes") or []
    own_instagram = any(row["inbox"]["channel_type"] == "Channel::Instagram" for row in rows)
    found: dict[str, Identity] = {}
    for row in rows:
        identity = _identity(row, contact.get("additional_attributes") or {}, own_instagram)
        if identity:
            found.setdefault(identity.key, identity)
    return [found[key] for key in sorted(found)]


def _identity(row: Json, more: Json, own_instagram: bool) -> Identity | None:
    inbox, source_id = row["inbox"], str(row["source_id"])
    network = network_of(inbox["channel_type"], source_id=source_id)
    if network == "facebook" and more.get("social_instagram_user_name") and not own_instagram:
        network = "instagram"
    user_id = _user_id(network, source_id, inbox["id"], more)
    if user_id is None:
        return None
    handle = _handle(network, source_id, more)
    profile = PROFILES[network].format(handle) if handle and network in PROFILES else None
    if network == "whatsapp" and user_id.isdecimal():
        profile = f"https://wa.me/{user_id}"
    followers = more.get(
        {"instagram": "social_instagram_follower_count", "twitter": "followers_count"}.get(network, "")
    )
    return Identity(network, user_id, handle, profile, followers if isinstance(followers, int) else None)


def _user_id(network: str, source_id: str, inbox: int, more: Json) -> str | None:
    if network == "tiktok":
        # The source id names a conversation; without the user id in the profile we do not know who it is.
        return str(more["social_tiktok_user_id"]) if more.get("social_tiktok_user_id") else None
    if network == "whatsapp":
        return source_id.removeprefix("whatsapp:").removeprefix("+")
    if network == "email":
        return source_id.lower()
    if network == "api":
        # An API inbox gives ids of its own: "1" in two inboxes is two people, and must not join them.
        return f"{inbox}/{source_id}"
    return source_id


def _handle(network: str, source_id: str, more: Json) -> str | None:
    if network == "email":
        return source_id.lower()
    profiles = more.get("social_profiles") or {}
    candidates = [more.get(f"social_{network}_user_name"), profiles.get(network)]
    if network in {"telegram", "tiktok"}:
        candidates.append(more.get("username"))
    if network == "twitter":
        candidates.append(more.get("screen_name"))
    return next((str(c) for c in candidates if c), None)


def source_ids(network: str, user_id: str, inbox: Json) -> list[str]:
    """How an identity would be spelled as `source_id` in this inbox; empty when it cannot be there."""
    channel = inbox["channel_type"]
    if network == "instagram" and channel == "Channel::FacebookPage":
        return [user_id]
    if network == "whatsapp" and channel == "Channel::TwilioSms":
        return [f"whatsapp:+{user_id}"]
    if NETWORKS.get(channel) != network or network == "tiktok":
        return []
    if network == "api":
        prefix, _, own = user_id.partition("/")
        return [own] if prefix == str(inbox["id"]) else []
    return [user_id]

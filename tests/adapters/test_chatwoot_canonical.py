"""Chatwoot's JSON becomes canonical fields: tables of shapes as the API shows them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.adapters.chatwoot import canonical
from connector.adapters.chatwoot.canonical import Directory
from connector.adapters.chatwoot.networks import identities_of, network_of, source_ids

DIRECTORY = Directory(
    "https://chat.shop.example", 3, 9, {11: {"id": 11, "name": "Instagram NL"}}, {5: "sam@shop.example"}
)


def contact(channel: str, source_id: str, inbox: int = 11, **more: Any) -> dict[str, Any]:
    rows = [{"source_id": source_id, "inbox": {"id": inbox, "channel_type": channel}}]
    return {"id": 1, "contact_inboxes": rows, "additional_attributes": more}


@pytest.mark.parametrize(
    ("channel", "source_id", "more", "key"),
    [
        ("Channel::Instagram", "17841", {"social_instagram_user_name": "jet.db"}, "instagram:17841"),
        ("Channel::FacebookPage", "24681", {}, "facebook:24681"),
        ("Channel::FacebookPage", "17841", {"social_instagram_user_name": "jet.db"}, "instagram:17841"),
        ("Channel::Whatsapp", "31612345678", {}, "whatsapp:31612345678"),
        ("Channel::Whatsapp", "NL.AB12", {}, "whatsapp:NL.AB12"),
        ("Channel::TwilioSms", "whatsapp:+31612345678", {}, "whatsapp:31612345678"),
        ("Channel::TwilioSms", "+31612345678", {}, "sms:+31612345678"),
        ("Channel::Sms", "+31612345678", {}, "sms:+31612345678"),
        ("Channel::Telegram", "777", {"username": "jet"}, "telegram:777"),
        ("Channel::Line", "U42", {}, "line:U42"),
        ("Channel::Tiktok", "conversation-1", {"social_tiktok_user_id": "tt9"}, "tiktok:tt9"),
        ("Channel::TwitterProfile", "115", {"screen_name": "jet"}, "twitter:115"),
        ("Channel::Email", "Jet@Mail.example", {}, "email:jet@mail.example"),
        ("Channel::WebWidget", "6f1c", {}, "web:6f1c"),
        ("Channel::Api", "1", {}, "api:11/1"),
        ("Channel::Voice", "+31", {}, "voice:+31"),
    ],
)
def test_each_channel_gives_its_network_and_user(channel: str, source_id: str, more: dict[str, Any], key: str) -> None:
    assert [i.key for i in identities_of(contact(channel, source_id, **more))] == [key]


def test_a_tiktok_contact_without_user_id_has_no_identity() -> None:
    assert identities_of(contact("Channel::Tiktok", "conversation-1")) == []


def test_the_same_id_in_two_api_inboxes_is_two_people() -> None:
    keys = {identities_of(contact("Channel::Api", "1", inbox))[0].key for inbox in (11, 12)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    "channel", ["Channel::Instagram", "Channel::Whatsapp", "Channel::Email", "Channel::Line", "Channel::Api"]
)
@given(user=st.text("abcdef0123456789", min_size=1))
def test_an_identity_leads_back_to_its_source_id(channel: str, user: str) -> None:
    identity = identities_of(contact(channel, user))[0]
    assert source_ids(identity.network, identity.user_id, {"id": 11, "channel_type": channel}) == [user]


def test_whatsapp_through_twilio_leads_back_to_twilios_spelling() -> None:
    inbox = {"id": 11, "channel_type": "Channel::TwilioSms"}
    assert source_ids("whatsapp", "31612345678", inbox) == ["whatsapp:+31612345678"]


def test_instagram_through_a_facebook_page_is_instagram() -> None:
    more = {"type": "instagram_direct_message"}
    assert network_of("Channel::FacebookPage", conversation=more) == "instagram"


def test_profile_and_followers_come_from_the_contact() -> None:
    shown = contact(
        "Channel::Instagram", "17841", social_instagram_user_name="jet.db", social_instagram_follower_count=912
    )
    fields = canonical.identities(shown)[0].fields
    assert (fields["handle"], fields["profile_url"], fields["followers"]) == (
        "jet.db",
        "https://www.instagram.com/jet.db/",
        912,
    )


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("Jet de Boer", "Jet de", "Boer"),
        ("Cher", None, "Cher"),
        ("  Ann   Lee ", "Ann", "Lee"),
        ("Unknown (IG: 17841400000001)", None, "Unknown (IG: 17841400000001)"),
        ("山田 太郎", "山田", "太郎"),
    ],
)
def test_a_name_is_split_at_its_last_word(name: str, first: str | None, last: str) -> None:
    fields = canonical.person({"id": 1, "name": name}).fields
    assert (fields["first_name"], fields["last_name"]) == (first, last)


@given(st.text())
def test_a_split_name_joined_again_is_the_name(name: str) -> None:
    fields = canonical.person({"id": 1, "name": name}).fields
    if fields:
        joined = " ".join(part for part in (fields["first_name"], fields["last_name"]) if part)
        assert joined == fields["name"] == " ".join(name.split())


def test_what_a_short_form_does_not_show_is_absent() -> None:
    assert set(canonical.person({"id": 1, "name": "Jet"}).fields) == {"name", "first_name", "last_name"}


def test_a_null_is_known_to_be_blank() -> None:
    fields = canonical.person({"id": 1, "name": "Jet", "email": None, "phone_number": "", "thumbnail": ""}).fields
    assert (fields["email"], fields["phone"], fields["picture"]) == (None, None, None)


def test_a_person_carries_everything_the_contact_shows() -> None:
    shown = contact(
        "Channel::Instagram", "17841", company_name="De Boer BV", city="Utrecht", country="NL", language_code="nl"
    )
    shown |= {"name": "Jet de Boer", "email": " Jet@Mail.example ", "identifier": "crm-1", "blocked": True}
    fields = canonical.person(shown | {"custom_attributes": {"tier": "gold"}}, ["vip", "nl", "vip"]).fields
    assert fields == {
        "name": "Jet de Boer", "first_name": "Jet de", "last_name": "Boer", "email": "jet@mail.example",
        "identifier": "crm-1", "blocked": True, "company": "De Boer BV", "city": "Utrecht", "country": "NL",
        "language": "nl", "tags": ["nl", "vip"], "identity_keys": ["instagram:17841"], "attributes.tier": "gold",
    }  # fmt: skip


def message(**changes: Any) -> dict[str, Any]:
    row = {
        "id": 90412, "conversation_id": 118, "message_type": 0, "content": "Is it on its way?", "content_type": "text",
        "status": "sent", "content_attributes": {}, "created_at": 1767225600, "private": False, "source_id": None,
        "inbox_id": 11, "sender": {"id": 5021, "name": "Jet de Boer", "type": "contact"},
    }  # fmt: skip
    return row | changes


AGENT = {"id": 5, "name": "Sam", "type": "user"}


def fields_of(**changes: Any) -> dict[str, Any]:
    seen = canonical.message(message(**changes), 5021, DIRECTORY)
    assert seen is not None
    return dict(seen.fields)


def test_a_customers_message_is_inbound() -> None:
    assert fields_of() == {
        "direction": "inbound", "type": "text", "author": "Jet de Boer", "author_type": "person", "private": False,
        "sent_at": "2026-01-01T00:00:00Z", "deleted": False, "text": "Is it on its way?", "attachments": [],
        "url": "https://chat.shop.example/app/accounts/3/conversations/118?messageId=90412",
        "person": "chatwoot:person:5021",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "author_type", "direction", "type_"),
    [
        ({"message_type": 1, "sender": AGENT}, "agent", "outbound", "text"),
        ({"message_type": 1, "sender": {"id": 2, "name": "Bot", "type": "agent_bot"}}, "bot", "outbound", "text"),
        ({"message_type": 1, "sender": None, "content_attributes": {"external_echo": True}}, "app", "outbound", "text"),
        ({"message_type": 1, "sender": None}, "bot", "outbound", "text"),
        ({"message_type": 3, "sender": None}, "bot", "outbound", "template"),
        ({"message_type": 1, "sender": AGENT, "private": True}, "agent", "outbound", "note"),
        ({"sender": None}, "person", "inbound", "text"),
        ({"content_type": "incoming_email"}, "person", "inbound", "email"),
        ({"content_type": "sticker"}, "person", "inbound", "sticker"),
    ],
)
def test_who_wrote_what(changes: dict[str, Any], author_type: str, direction: str, type_: str) -> None:
    fields = fields_of(**changes)
    assert (fields["author_type"], fields["direction"], fields["type"]) == (author_type, direction, type_)


def test_an_activity_line_is_no_message() -> None:
    assert canonical.message(message(message_type=2), 5021, DIRECTORY) is None


def test_a_message_of_another_customer_names_that_customer() -> None:
    fields = fields_of(sender={"id": 7, "name": "Ann", "type": "contact"})
    assert fields["person"] == "chatwoot:person:7"


def test_a_deleted_message_keeps_silent_about_its_text() -> None:
    fields = fields_of(content="This message was deleted", content_attributes={"deleted": True})
    assert fields["deleted"] is True
    assert {"text", "attachments"} & set(fields) == set()


def test_our_own_reply_is_known_by_its_token_and_author() -> None:
    row = message(
        message_type=1, sender={"id": 9, "name": "CRM", "type": "user"}, content_attributes={"connector_token": "t1"}
    )
    seen = canonical.message(row, 5021, DIRECTORY)
    assert seen is not None
    assert (seen.token, seen.ours) == ("t1", True)


def test_an_agents_own_message_is_not_ours() -> None:
    seen = canonical.message(message(message_type=1, sender=AGENT), 5021, DIRECTORY)
    assert seen is not None
    assert (seen.token, seen.ours, seen.by) == (None, False, "sam@shop.example")


@pytest.mark.parametrize(
    ("status", "extra", "error"),
    [
        ("failed", {"external_error": "10 - outside of allowed window."}, "10 - outside of allowed window."),
        ("failed", {}, "unknown reason"),
        ("delivered", {"external_error": "old"}, None),
        ("read", {}, None),
    ],
)
def test_delivery_is_told_with_its_error(status: str, extra: dict[str, Any], error: str | None) -> None:
    fields = fields_of(message_type=1, sender=AGENT, status=status, content_attributes=extra)
    assert (fields["delivery"], fields["delivery_error"]) == (status, error)


@pytest.mark.parametrize("changes", [{}, {"message_type": 1, "sender": AGENT, "private": True}])
def test_nothing_is_delivered_for_inbound_messages_and_notes(changes: dict[str, Any]) -> None:
    assert "delivery" not in fields_of(**changes)


def test_an_attachment_is_a_link_with_a_name() -> None:
    url = "https://chat.shop.example/rails/active_storage/blobs/redirect/xyz/my%20bike.jpg"
    fields = fields_of(content=None, attachments=[{"file_type": "image", "data_url": url}])
    assert fields["text"] == ""
    assert fields["attachments"] == [{"type": "image", "url": url, "name": "my bike.jpg"}]


def test_a_quote_names_the_message_by_its_reference() -> None:
    assert fields_of(content_attributes={"in_reply_to": 90400})["in_reply_to"] == "118-90400"


def conversation(**changes: Any) -> dict[str, Any]:
    row = {
        "id": 118, "inbox_id": 11, "status": "open", "priority": None, "labels": ["vip", "nl"], "can_reply": True,
        "custom_attributes": {"case": "C-1"}, "additional_attributes": {}, "created_at": 1767225000,
        "updated_at": 1767225612.418,
        "meta": {"channel": "Channel::Instagram", "sender": {"id": 5021, "name": "Jet"}, "assignee_type": "User",
                 "assignee": {"id": 5, "email": "Sam@shop.example"}, "team": {"id": 2, "name": "service"}},
    }  # fmt: skip
    return row | changes


def test_a_conversation_carries_its_fields_and_its_person() -> None:
    seen = canonical.conversation(conversation(), DIRECTORY)
    assert seen.parent == canonical.person_ref(5021)
    assert dict(seen.fields) == {
        "network": "instagram", "inbox": "Instagram NL", "type": "dm", "status": "open", "priority": None,
        "assignee": "sam@shop.example", "team": "service", "tags": ["nl", "vip"], "can_reply": True,
        "url": "https://chat.shop.example/app/accounts/3/conversations/118", "opened_at": "2025-12-31T23:50:00Z",
        "attributes.case": "C-1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("channel", "more", "type_"),
    [
        ("Channel::Email", {"mail_subject": "Order 12"}, "email"),
        ("Channel::WebWidget", {}, "chat"),
        ("Channel::Api", {}, "chat"),
        ("Channel::TwitterProfile", {"type": "tweet"}, "mention"),
        ("Channel::TwitterProfile", {"type": "direct_message"}, "dm"),
        ("Channel::Whatsapp", {}, "dm"),
    ],
)
def test_the_type_follows_the_channel(channel: str, more: dict[str, Any], type_: str) -> None:
    row = conversation(additional_attributes=more)
    row["meta"] = row["meta"] | {"channel": channel}
    assert canonical.conversation(row, DIRECTORY).fields["type"] == type_


def test_a_bot_is_no_assignee() -> None:
    row = conversation()
    row["meta"] = row["meta"] | {"assignee_type": "AgentBot"}
    assert canonical.conversation(row, DIRECTORY).fields["assignee"] is None

"""A stand-in of Chatwoot 4.15.1: its Application and Client API, its webhooks and a fake network behind each inbox.

Run it with ``python -m connector.sandbox.chatwoot --dir DIR``. `docs/sandbox-chatwoot.md` lists what is imitated.
"""

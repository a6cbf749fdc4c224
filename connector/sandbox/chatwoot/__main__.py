"""`python -m connector.sandbox.chatwoot`: serve the sandbox until SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sqlite3
import sys
from pathlib import Path

import uvicorn

from connector.sandbox.announcing import Announced, listen
from connector.sandbox.chatwoot.app import build
from connector.sandbox.chatwoot.world import ACCOUNT_ID


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m connector.sandbox.chatwoot")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--dir", type=Path, required=True, help="state, tokens and chatwoot.json go here")
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    announcement = options.dir / "chatwoot.json"
    try:
        listener = listen(options.host, options.port)
    except OSError as error:
        sys.exit(f"{options.host}:{options.port} cannot be used: {error.strerror}; choose another --port")
    url = f"http://{options.host}:{listener.getsockname()[1]}"
    try:
        app = build(options.dir)
    except sqlite3.Error as error:
        sys.exit(f"{options.dir}: the state cannot be used ({error}); is another sandbox running on it?")
    announcement.unlink(missing_ok=True)
    config = uvicorn.Config(app, log_level="warning", proxy_headers=False, timeout_graceful_shutdown=2)
    # uvicorn finishes its work on SIGTERM and then raises the signal again, for whoever handled it before.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Announced(config, announcement, url, account_id=ACCOUNT_ID).run(sockets=[listener])


if __name__ == "__main__":
    main()

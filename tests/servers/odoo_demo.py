"""`make demo CRM=odoo`: the demo with a real Odoo as the CRM, which stays open afterwards for who sits at a terminal."""

import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from odoo_install import Unavailable
from odoo_server import NOOR, Odoo, Servers

from connector.sandbox.demo import odoo
from connector.sandbox.demo.pages import Pages
from connector.sandbox.demo.story import play


def at(server: Odoo) -> odoo.At:
    """Where the demo finds this server and its people."""
    bot, admin, noor = ((login, server.keys[login]) for login in (server.bot, "admin", NOOR))
    return odoo.At(server.url, server.database, bot, admin, noor)


def tell_where_to_look(server: Odoo, pages: Pages) -> None:
    (jet,) = server.admin()("res.partner", "search", [["name", "=", "Jet de Boer"]])
    pages.step(
        "The contact's page, in Odoo itself:", f"{server.url}/odoo/contacts/{jet}", "login admin / password admin"
    )


def stay_open(pages: Pages) -> None:
    """For who sits at a terminal, until they have seen enough."""
    if os.environ.get("CI") or not (sys.stdin.isatty() and sys.stdout.isatty()):
        pages.say("It ends with this demo; at a terminal it stays open until Ctrl-C.")
        return
    pages.say("It is open until Ctrl-C.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pages.say()


def main() -> int:
    pages = Pages()
    # Whoever ends this ends the server as well, which is a process of its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended."))
    try:
        servers = Servers()
    except Unavailable as error:
        pages.say(f"No real Odoo can be had here: {error}", "bold red")
        pages.say("`make demo` works everywhere: it shows the same with a stand-in of Salesforce.")
        return 1
    try:
        with servers.running() as server, tempfile.TemporaryDirectory(prefix="connector-demo-") as directory:
            arrived = play(Path(directory), pages, odoo.scene(at(server)))
            tell_where_to_look(server, pages)
            stay_open(pages)
    finally:
        servers.close()
    return 0 if arrived else 1


if __name__ == "__main__":
    sys.exit(main())

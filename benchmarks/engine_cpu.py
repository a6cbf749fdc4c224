"""CPU that the engine spends on a message, from observing it to having it settled: the whole of `Engine.sync` with the store on
disk (SQLite) and two sides that cost next to nothing (`world`). Nothing is subtracted for them.

Rivals of the same run and the same 10,000 records:

- vdirsyncer, which keeps two collections of files equal and has no fields, rules or journal. Its whole process is counted
  (user and system time) over the first sync of a full folder with an empty one, less what the same command spends on two
  empty folders, so that neither side pays for starting Python. It is installed into an environment that is thrown away.
- A floor that nobody can beat: decoding each record from JSON and encoding it again.

All are run twice, in turns, and the smaller figure counts: on a machine that is shared, the same work takes up to twice the CPU
time while others keep the other half of a core busy.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Measure
from benchmarks.world import Crm, Platform, engine, mapping, message_fields, opened, person_fields
from connector.app import spare_the_collector
from connector.mapping.compiled import Compiled
from connector.model import Fields

ITEMS = 10_000
MORE_ITEMS = 50_000
PERSONS = 200
VDIRSYNCER = "vdirsyncer==0.21.0"
CONFIG = """
[general]
status_path = "{folder}/status"

[pair both]
a = "one"
b = "two"
collections = null

[storage one]
type = "filesystem"
path = "{folder}/one"
fileext = ".ics"

[storage two]
type = "filesystem"
path = "{folder}/two"
fileext = ".ics"
"""


class Unavailable(Exception):
    """The rival cannot be had; the message says why."""


def measure(full: bool) -> list[Measure]:
    """CPU milliseconds per record. A full run takes five times as many."""
    spare_the_collector()
    compiled = mapping()
    items = MORE_ITEMS if full else ITEMS
    persons = items // 10
    with tempfile.TemporaryDirectory() as folder:
        try:
            program: Path | None = installed(Path(folder))
            rival, goal = VDIRSYNCER.replace("==", " "), 1.0
        except Unavailable as error:
            program, rival, goal = None, f"vdirsyncer, which cannot be had: {error}", None
        rounds = [
            (
                1000 * messages_cpu(items, compiled) / items,
                1000 * json_cpu(items) / items,
                1000 * persons_cpu(persons, compiled) / persons,
                1000 * vdirsyncer_cpu(program, items) / items if program else None,
            )
            for _ in range(2)
        ]
    ours, floor, first, theirs = (None if None in column else min(column) for column in zip(*rounds, strict=True))
    return [
        Measure("CPU of the engine per message of a known person", "ms", ours, rival, theirs, goal),
        Measure("CPU of the engine per message of a known person", "ms", ours, "JSON in and out", floor),
        Measure("CPU of the engine per person of a first load", "ms", first, rival, theirs),
    ]


def persons_cpu(items: int, compiled: Compiled) -> float:
    """CPU seconds for persons nobody knows, with one message each, which is what brings a person into the CRM."""
    with tempfile.TemporaryDirectory() as folder, opened(f"sqlite:///{folder}/connector.db") as store:
        worker = engine(store, Platform(persons=items, messages=items), Crm(), compiled)
        started = time.process_time()
        report = worker.sync()
        spent = time.process_time() - started
    assert report.written >= 2 * items, report
    return spent


def messages_cpu(items: int, compiled: Compiled) -> float:
    """CPU seconds for messages of persons that are linked."""
    with tempfile.TemporaryDirectory() as folder, opened(f"sqlite:///{folder}/connector.db") as store:
        platform, crm = Platform(persons=PERSONS, messages=PERSONS), Crm()
        worker = engine(store, platform, crm, compiled)
        worker.sync()
        platform.messages += items
        started = time.process_time()
        report = worker.sync()
        spent = time.process_time() - started
    assert (report.written, crm.messages) == (items, items + PERSONS), report
    return spent


def json_cpu(items: int) -> float:
    texts = [json.dumps(message_fields(number)) for number in range(items)]
    started = time.process_time()
    for text in texts:
        json.dumps(json.loads(text))
    return time.process_time() - started


def installed(folder: Path) -> Path:
    """The command in a new environment. Raises Unavailable."""
    for command in (
        [sys.executable, "-m", "venv", str(folder / "venv")],
        [str(folder / "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check", VDIRSYNCER],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable((done.stderr.strip().splitlines() or ["pip failed"])[-1])
    return folder / "venv/bin/vdirsyncer"


def vdirsyncer_cpu(program: Path, items: int) -> float:
    """CPU seconds of the first sync of so many files, less those of one of none."""
    with tempfile.TemporaryDirectory() as folder:
        empty, full = (_folders(Path(folder) / str(count), count) for count in (0, items))
        spent = _synced(program, full) - _synced(program, empty)
        found = len(list((full / "two").iterdir()))
        assert found == items, found
    return spent


def _folders(folder: Path, count: int) -> Path:
    """One folder with so many records as files, an empty one, and the config that pairs them."""
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        (folder / "one" / f"{number}.ics").write_bytes(_journal(number, message_fields(number)).encode())
    (folder / "config").write_text(CONFIG.format(folder=folder))
    return folder


def _journal(number: int, fields: Fields) -> str:
    """A message in the words of RFC 5545, the format that vdirsyncer keeps equal."""
    day = fields["sent_at"].translate({ord(mark): None for mark in "-:"})
    text = fields["text"].replace(",", "\\,")
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//benchmark//EN",
        "BEGIN:VJOURNAL",
        f"UID:{number}@bench",
        f"DTSTAMP:{day}",
        f"ORGANIZER;CN={fields['author']}:mailto:{person_fields(number % PERSONS)['email']}",
        "SUMMARY:WhatsApp",
        "CATEGORIES:inbound",
        f"DESCRIPTION:{text}",
        "END:VJOURNAL",
        "END:VCALENDAR",
    ]
    return "".join(f"{line}\r\n" for line in lines)


def _synced(program: Path, folder: Path) -> float:
    """CPU seconds of `vdirsyncer sync`; the pair is made known to it before."""
    command = [str(program), "--config", str(folder / "config")]
    subprocess.run([*command, "discover"], check=True, capture_output=True, input=b"y\ny\n")
    before = _children()
    subprocess.run([*command, "sync"], check=True, capture_output=True)
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

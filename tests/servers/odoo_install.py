"""A real Odoo, prepared once: the program from Debian's package, its libraries, and a database with CRM and contacts.

The newest one runs on this Python with libraries from wheels. An old one needs an old Python, so that Python and all its
libraries come from the same Debian as the program.

Everything lies in a cache outside the repository (`CONNECTOR_TEST_SERVERS`, else the user's cache folder) and nothing is
added to the system. Odoo is LGPL-3; nothing of it belongs in the repository.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NEWEST = "sid"
"""The Debian suite that carries Odoo 17 and newer. It is never added to the machine's own sources, and neither are these."""

OLD = {14: "bullseye"}
"""The suites of the versions that can be asked for by number."""

LIBRARIES = """
asn1crypto==1.5.1 Babel==2.10.3 cbor2==5.9.0 chardet==5.2.0 cryptography docutils==0.20.1 freezegun==1.2.1 geoip2
gevent==23.9.1 greenlet idna Jinja2==3.1.2 libsass==0.22.0 lxml==4.9.3 MarkupSafe==2.1.2 num2words==0.5.10 ofxparse==0.21
openpyxl==3.0.9 passlib==1.7.4 Pillow==12.1.1 polib==1.1.1 psutil==5.9.4 psycopg2-binary pyopenssl PyPDF2==2.12.1
pyserial==3.5 python-dateutil==2.8.2 python-magic==0.4.24 python-stdnum==1.19 pytz pyusb==1.2.1 qrcode==7.4.2
reportlab==3.6.13 requests==2.31.0 rjsmin==1.2.0 urllib3==1.26.20 vobject==0.9.6.1 Werkzeug==2.3.8 xlrd==1.2.0
XlsxWriter==3.0.2 xlwt==1.3.0 zeep==4.2.1 setuptools<81 phonenumbers
"""
"""Versions that Odoo 19 runs with on Python 3.11, and that come as wheels."""

APPS = "crm,contacts"
LEFT_OUT = ("*.po", "*.pot", "*/static/tests/*", "*/l10n_*")

PAGES = "libjs-jquery"
"""The package that the newest one's web pages need: the program's has a link in the script's place, and every page is an error
without it. Its other such links are fonts and scripts that no page asks for."""

LAYOUT = "2"
"""Another one after every change of how an Odoo is prepared, so that it is made anew. Servers may still be running from what
was prepared before, so that stays where it is."""

Say = Callable[[str], None]


class Unavailable(Exception):
    """No Odoo can be had on this machine; the text says why."""


@dataclass(frozen=True)
class Installed:
    """A prepared Odoo. `base` is the name of the database that others are copied from."""

    folder: Path
    version: int
    base: str = "base"

    @property
    def python(self) -> Path:
        old = self.system / "usr" / "bin" / "python3"
        return old if self.version in OLD else self.folder / "venv" / "bin" / "python"

    @property
    def system(self) -> Path:
        """The unpacked packages that an old version runs on."""
        return self.folder / "system"

    @property
    def environment(self) -> dict[str, str]:
        """What its processes run with; nothing that this machine has for the same Python gets in."""
        own = {"PYTHONPATH": str(self.code), "PYTHONWARNINGS": "ignore", "PYTHONNOUSERSITE": "1"}
        found = {**os.environ, **own}
        if self.version in OLD:
            shared = [path for lib in ("usr/lib", "lib") for path in sorted(self.system.glob(f"{lib}/*-linux-gnu*"))]
            found["LD_LIBRARY_PATH"] = ":".join(str(path) for path in shared)
            found["PYTZ_TZDATADIR"] = str(self.system / "usr" / "share" / "zoneinfo")
        return found

    @property
    def code(self) -> Path:
        """As deep as Debian has it: the program's links to files of other packages are relative."""
        return self.folder / "usr" / "lib" / "python3" / "dist-packages"

    @property
    def database(self) -> Path:
        """The files of a PostgreSQL that is not running and holds `base`."""
        return self.folder / "database"

    @property
    def files(self) -> Path:
        """Odoo's own data folder as `base` left it."""
        return self.folder / "files"


def cache() -> Path:
    """Where prepared servers lie. For root not in the home folder: PostgreSQL then runs as a user of its own, and would need
    every folder above its data to be open to all."""
    if given := os.environ.get("CONNECTOR_TEST_SERVERS"):
        return Path(given)
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path("/var/cache") if os.geteuid() == 0 else own) / "social-crm-connector"


def prepared(say: Say = lambda _text: None, version: int | None = None) -> Installed:
    """The prepared Odoo of the cache, made on first use in about a minute and a half: the newest, or one of `OLD`.

    Raises Unavailable."""
    if version is not None and version not in OLD:
        raise Unavailable(f"Odoo {version} cannot be prepared here; the newest and {sorted(OLD)} can.")
    folder = cache() / LAYOUT
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "lock"):
        ready = [_number(path.parent.name) for path in folder.glob("odoo-*/ready")]
        known = [number for number in ready if number == version or (version is None and number not in OLD)]
        if known:
            return Installed(folder / f"odoo-{max(known)}", max(known))
        return _make(folder, version, say)


def _make(folder: Path, asked: int | None, say: Say) -> Installed:
    work = folder / "downloading"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    say(f"Preparing a real Odoo in {folder}, once; it takes a minute or two.")
    apt, package = _download(work, asked, say)
    version = _number(package.name)
    target = Installed(folder / f"odoo-{version}", version)
    shutil.rmtree(target.folder, ignore_errors=True)
    target.folder.mkdir()
    say(f"  unpacking {package.name}")
    _unpack(package, target.code)
    say("  installing its libraries")
    if asked is None:
        _install_wheels(target)
        _install_pages(target, apt)
    else:
        _install_system(target, apt)
    shutil.rmtree(work)
    say(f"  making a database with {APPS}")
    # Only a server in a process of its own can be asked to make it; `odoo_server` knows how to start one.
    from odoo_server import make_base

    make_base(target)
    (target.folder / "ready").touch()
    return target


def _install_wheels(target: Installed) -> None:
    _run([sys.executable, "-m", "venv", str(target.folder / "venv")])
    pip = [str(target.python), "-m", "pip", "--disable-pip-version-check", "-q"]
    _run([*pip, "install", "--prefer-binary", *LIBRARIES.split()])


def _install_pages(target: Installed, apt: "_Apt") -> None:
    _run(["dpkg-deb", "-x", str(apt.fetched(PAGES)), str(target.folder)])


def _install_system(target: Installed, apt: "_Apt") -> None:
    """An old Python with what Odoo needs. The C library is left out: the machine's own serves older programs too."""
    told = apt.run("apt-cache", "depends", f"odoo-{target.version}")
    needed = re.findall(r"Depends: (python3-\S+)", told)
    for package in apt.with_all_they_need("python3", "python3-phonenumbers", *needed):
        if not package.name.startswith("libc6_"):
            _run(["dpkg-deb", "-x", str(package), str(target.system)])
    # Debian's docutils names its data by a full path.
    docutils = target.system / "usr/lib/python3/dist-packages/docutils/__init__.py"
    docutils.write_text(docutils.read_text().replace("/usr/share/docutils", f"{target.system}/usr/share/docutils"))
    _run([str(target.python), "-c", "import ssl, lxml.etree, psycopg2, PIL.Image"], env=target.environment)


def _download(work: Path, asked: int | None, say: Say) -> tuple["_Apt", Path]:
    """The package file of the Odoo asked for, else of the newest that Debian offers, and the apt that has it."""
    suite, number = (NEWEST, "[0-9]+") if asked is None else (OLD[asked], str(asked))
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Unavailable("this machine has no apt-get and dpkg-deb to fetch Odoo's package with.")
    mirrors = _mirrors()
    for mirror in mirrors:
        apt = _Apt(work, mirror, suite)
        say(f"  asking the Debian mirror for {suite}")
        if not apt.works("apt-get", "update", "-q"):
            continue
        found = apt.run("apt-cache", "search", "-n", f"^odoo-{number}$")
        names = [line.split()[0] for line in found.splitlines() if line.strip()]
        if names:
            return apt, apt.fetched(max(names, key=_number))
    raise Unavailable(f"no Debian mirror of this machine offers Odoo in {suite} ({len(mirrors)} asked).")


class _Apt:
    """apt with sources, lists and cache of its own, so that the machine's own are left alone.

    It takes the machine for an empty one, where nothing is installed yet."""

    def __init__(self, work: Path, mirror: str, suite: str) -> None:
        self._work = work
        for name in ("lists/partial", "cache/archives/partial"):
            (work / name).mkdir(parents=True, exist_ok=True)
        (work / "sources.list").write_text(f"deb {mirror} {suite} main\n")
        (work / "status").touch()
        config = work / "apt.conf"
        config.write_text(
            f'Dir::Etc::sourcelist "{work}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
            f'Dir::State::lists "{work}/lists";\nDir::State::status "{work}/status";\nDir::Cache "{work}/cache";\n'
            'APT::Sandbox::User "root";\nAcquire::Languages "none";\n'
        )
        self._env = {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C"}

    def run(self, *command: str) -> str:
        return _run(command, env=self._env, cwd=self._work)

    def fetched(self, name: str) -> Path:
        """The package's file."""
        self.run("apt-get", "download", "-q", name)
        return next(self._work.glob(f"{name}_*.deb"))

    def with_all_they_need(self, *names: str) -> list[Path]:
        """The files of these packages and of every other that they need."""
        self.run("apt-get", "install", "-q", "-y", "--download-only", "--no-install-recommends", *names)
        return sorted(self._work.glob("cache/archives/*.deb"))

    def works(self, *command: str) -> bool:
        try:
            self.run(*command)
        except Unavailable:
            return False
        return True


def _mirrors() -> list[str]:
    """The Debian mirrors that the machine itself uses."""
    told = _run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
    lines = [line.split() for line in told.splitlines()]
    return list(dict.fromkeys(uri for uri, release in lines if "security" not in uri + release))


def _unpack(package: Path, code: Path) -> None:
    code.mkdir(parents=True)
    options = [f"--exclude={pattern}" for pattern in LEFT_OUT]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as source:
        inside = "./usr/lib/python3/dist-packages/odoo"
        depth = inside.count("/")
        tar = ["tar", "-x", "-C", str(code), *options, f"--strip-components={depth}", inside]
        subprocess.run(tar, stdin=source.stdout, check=True)


def _number(name: str) -> int:
    found = re.search(r"odoo-(\d+)", name)
    return int(found[1]) if found else 0


def _run(command: Sequence[str], *, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise Unavailable(f"`{' '.join(command[:3])}` failed: {last[0]}")
    return done.stdout


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two test runs start on a new machine at once; the second waits for what the first prepares."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    start = time.monotonic()
    wanted = int(sys.argv[1]) if sys.argv[1:] else None
    print(prepared(print, wanted).folder, f"{time.monotonic() - start:.0f} s")

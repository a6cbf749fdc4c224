"""The repository keeps its own rules: who may import whom, what pure means, and that the papers name what exists."""

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import typer

from connector import __version__
from connector.cli import app as commands
from connector.mapping.load import load_mapping

HERE = Path(__file__)
ROOT = HERE.parents[1]
LONGEST = 500
"""Lines of a module. More than that is more than one subject."""

SYNC_DOES = {"engine", "outbox", "doubts", "failures", "landing", "loading", "finding", "whereabouts"}
"""The modules of connector.sync that fetch, store or send. All the others decide, and deciding is pure."""

# Who may import whom, by prefix of the module's name. The longest prefix of a module counts.
MAY_IMPORT = {
    "connector.errors": (),
    "connector.model": (),
    "connector.mapping": ("errors", "model", "mapping", "adapters.base"),
    "connector.adapters": ("errors", "model", "adapters"),
    "connector.store": ("errors", "model", "store"),
    "connector.sync": ("errors", "model", "mapping", "adapters.base", "store.entries", "store.rows", "sync"),
    **{
        f"connector.sync.{name}": ("errors", "model", "mapping", "adapters.base", "store", "sync") for name in SYNC_DOES
    },
    "connector.config": ("errors", "mapping.source"),
    "connector.app": ("", "errors", "model", "mapping", "adapters", "store", "sync", "config"),
    "connector.service": ("errors", "model", "mapping", "adapters.base", "store", "sync", "config", "app", "service"),
    "connector.sandbox": ("sandbox",),
    "connector.sandbox.demo": ("model", "app", "sync.report", "sandbox"),
}


def modules() -> dict[str, Path]:
    """Every module of the program by its dotted name."""
    found = {}
    for path in sorted((ROOT / "connector").rglob("*.py")):
        found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()
PURE = [
    name
    for name in MODULES
    if name in ("connector.model", "connector.errors")
    or name.startswith("connector.mapping.")
    or (name.startswith("connector.sync.") and name.rpartition(".")[2] not in SYNC_DOES)
]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


@cache
def imports(name: str) -> frozenset[str]:
    """Dotted names of everything a module imports; `from package import module` counts as the module."""
    found: set[str] = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            assert node.module
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules_in_it = inner & MODULES.keys()
            found |= modules_in_it or {node.module}
    return frozenset(found)


def below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def tracked() -> list[Path]:
    """Text files that are, or are about to be, under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    return [path for path in files if b"\0" not in path.read_bytes()]


# -- who knows whom


@pytest.mark.parametrize("name", [name for name in MODULES if any(below(name, prefix) for prefix in MAY_IMPORT)])
def test_a_module_imports_only_what_its_layer_may(name: str) -> None:
    layer = max((prefix for prefix in MAY_IMPORT if below(name, prefix)), key=len)
    allowed = {f"connector.{part}".removesuffix(".") for part in MAY_IMPORT[layer]}
    foreign = {
        found
        for found in imports(name)
        if below(found, "connector")
        and found != layer
        and not (found == "connector" and "connector" in allowed)
        and not any(below(found, part) for part in allowed if part != "connector")
    }
    assert not foreign, f"{name} belongs to {layer}, which may not import {sorted(foreign)}"


def test_a_wrong_import_would_be_noticed() -> None:
    assert imports("connector.sync.engine") >= {"connector.store.store", "connector.sync.cursor", "datetime"}
    assert not any(below("connector.store.store", f"connector.{part}") for part in MAY_IMPORT["connector.sync"])


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("sqlalchemy", ("connector.store",)),
        ("alembic", ("connector.store",)),
        ("requests", ("connector.adapters", "connector.sandbox", "connector.cli.sandboxing")),
        ("simple_salesforce", ("connector.adapters.salesforce",)),
        ("starlette", ("connector.service", "connector.sandbox")),
        ("uvicorn", ("connector.service", "connector.sandbox")),
        ("rich", ("connector.cli", "connector.sandbox.demo")),
        ("typer", ("connector.cli", "connector.sandbox")),
    ],
)
def test_a_library_is_used_in_its_own_place_only(library: str, homes: tuple[str, ...]) -> None:
    users = {name for name in MODULES if any(below(found, library) for found in imports(name))}
    assert users, f"nobody uses {library}"
    strangers = {name for name in users if not any(below(name, home) for home in homes)}
    assert {name for name in strangers if names_from(name, library) - {"make_url"}} == set()


def names_from(module: str, library: str) -> set[str]:
    """What a module takes from a library. An address is parsed (`make_url`) where the config is read, too."""
    return {
        alias.name
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and below(node.module or "", library)
        for alias in node.names
    } | {
        library
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Import)
        for a in node.names
        if a.name == library
    }


def test_only_the_outbox_calls_the_write_methods_of_adapters() -> None:
    writes = {"upsert", "send", "remove"}
    callers = {
        name
        for name in MODULES
        if below(name, "connector") and not below(name, "connector.adapters") and not below(name, "connector.sandbox")
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in writes
    }
    assert callers == {"connector.sync.outbox"}


@pytest.mark.parametrize("name", [name for name in MODULES if not below(name, "connector.sandbox")])
def test_no_system_s_paths_outside_its_adapter(name: str) -> None:
    if below(name, "connector.adapters"):
        return
    texts = [
        node.value for node in ast.walk(tree(name)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert not [text for text in texts if re.search(r"/api/v1|/services/(data|oauth2)", text)]


# -- what pure means


@pytest.mark.parametrize("name", PURE)
def test_deciding_is_pure(name: str) -> None:
    """No clock, no chance, no network, no files of its own choosing."""
    banned = {"time", "random", "secrets", "uuid", "socket", "subprocess", "threading", "os", "requests", "logging"}
    assert not banned & {found.partition(".")[0] for found in imports(name)}
    called = {
        ast.unparse(node.func)
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    }
    assert not {
        call for call in called if re.fullmatch(r"(datetime\.|date\.)?(now|utcnow|today)|print|input|open", call)
    }


# -- every file


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_lives_there_and_stays_readable(name: str) -> None:
    assert ast.get_docstring(tree(name)), f"{MODULES[name]} has no docstring"
    lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{MODULES[name]} has {lines} lines"


def test_nothing_is_left_to_do() -> None:
    left = re.compile(r"\b(TODO|FIXME|XXX)\b")
    assert [path for path in tracked() if path != HERE and left.search(read(path))] == []
    assert [name for name, path in MODULES.items() if "NotImplementedError" in read(path)] == []


def test_no_file_names_the_machine_it_was_written_on() -> None:
    place = re.compile(r"(?<![\w.])/(work|root|home)/[a-z]|file:///|C:\\Users")
    assert [path for path in tracked() if path != HERE and place.search(read(path))] == []


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


# -- what ships beside the program


@pytest.mark.parametrize("path", sorted((ROOT / "mappings").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_mapping_loads(path: Path) -> None:
    assert load_mapping(path).version == 1


def test_the_changelog_names_this_version() -> None:
    newest = re.search(r"^## (\S+)", read(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert newest
    assert newest[1] == __version__


def test_the_lock_pins_every_package() -> None:
    lines = [line for line in read(ROOT / "requirements-dev.lock").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)


def test_the_lock_holds_every_dependency() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
        *project["build-system"]["requires"],
    ]
    plain = {re.split(r"[\[<>=~! ]", line)[0].lower().replace("_", "-") for line in wanted}
    locked = {
        line.partition("==")[0].lower().replace("_", "-") for line in read(ROOT / "requirements-dev.lock").splitlines()
    }
    assert plain - locked == set()


# -- the papers


def papers() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*##", read(ROOT / "Makefile"), re.MULTILINE))


def command_names() -> dict[str, set[str]]:
    """The subcommands of each command of the program; the empty name is the program itself."""
    root = typer.main.get_command(commands)
    found = {"": set(root.commands)}  # type: ignore[attr-defined]
    found |= {name: set(getattr(command, "commands", ())) for name, command in root.commands.items()}  # type: ignore[attr-defined]
    return found


def code_in(text: str) -> list[str]:
    """The code of a paper: what stands between backticks, in a fence, or indented by four."""
    fences = text.split("```")[1::2]
    indented = re.findall(r"^ {4,}(.*)$", text, re.MULTILINE)
    return [line for fence in fences for line in fence.splitlines()] + indented + re.findall(r"`([^`]+)`", text)


def test_ci_runs_exactly_the_commands_that_the_readme_promises() -> None:
    run = [line for line in read(ROOT / ".ci" / "run").splitlines() if re.match(r"make\b", line)]
    assert run == ["make demo", "make test"]
    first_block = read(ROOT / "README.md").split("```")[1]
    promised = [line.partition("#")[0].strip() for line in first_block.splitlines() if line.startswith("make")]
    assert promised == run


def test_the_readme_names_the_way_to_one_s_own_systems() -> None:
    assert re.findall(r"^connector (\w+)", "\n".join(code_in(read(ROOT / "README.md"))), re.MULTILINE)[:4] == [
        "check",
        "plan",
        "sync",
        "run",
    ]


@pytest.mark.parametrize("path", papers(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_paper_names_only_commands_that_exist(path: Path) -> None:
    known = command_names()
    code = "\n".join(code_in(read(path)))
    for command, sub in re.findall(r"^(?:\S*/)?connector ([a-z][a-z-]*)(?: ([a-z]+)\b)?", code, re.MULTILINE):
        assert command in known[""], f"{path.name}: connector {command}"
        if known[command] and sub:
            assert sub in known[command], f"{path.name}: connector {command} {sub}"
    for target in re.findall(r"^make ([a-z]+)", code, re.MULTILINE):
        assert target in make_targets(), f"{path.name}: make {target}"


@pytest.mark.parametrize("path", papers(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_paper_s_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)", read(path))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert missing == []


def test_every_paper_stands_in_the_index() -> None:
    index = read(ROOT / "docs" / "README.md")
    missing = [
        path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md" and f"({path.name})" not in index
    ]
    assert missing == []


def test_the_architecture_names_what_exists() -> None:
    text = read(ROOT / "docs" / "architecture.md")
    spans = set(re.findall(r"`([^`\n]+)`", text))
    files = {span for span in spans if re.fullmatch(r"[a-z_/]+\.py", span)}
    assert len(files) > 10
    homes = (ROOT, ROOT / "connector")
    assert [name for name in sorted(files) if not any((home / name).exists() for home in homes)] == []

    named = {
        span.rpartition(".")[2] for span in spans if re.fullmatch(r"[A-Z][A-Za-z]+\.[a-z_]+|_?[a-z]+_[a-z_]+", span)
    }
    assert len(named) > 10
    assert sorted(named - defined()) == []


def defined() -> set[str]:
    """Names of all functions, classes, attributes and short texts of the program."""
    found: set[str] = set()
    for name in MODULES:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return found

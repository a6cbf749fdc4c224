"""Mapping files that somebody broke: each is either read, and can then be worked with, or refused with all its problems."""

import copy
import json
from pathlib import Path
from typing import Any

from hostile import fuzz, problems, texts, trees
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from connector.mapping.compiled import Context, compile_mapping, reads
from connector.mapping.load import parse_mapping
from connector.mapping.source import MAX_TEXT

ROOT = Path(__file__).parents[2]
SHIPPED = [path.read_text() for path in sorted((ROOT / "mappings").glob("*.yaml"))]
SMALL = (ROOT / "tests/properties/mapping.yaml").read_text()
PLAIN = YAML(typ="safe").load(SMALL)

SNIPPETS = (
    "\t", ": ", "- ", "? ", "&a ", "*a", "*missing", "!x ", "!!int ''", "!!int _", "!!float ''", "!!bool x", "!!python/object/apply:os.system [id]",
    "!!set {a}", "!h!x y", "[", "]", "{", "}", '"', "'", "|", ">", "%", "@", "#", "---\n", "...\n", "%YAML 1.1\n---\n", "%YAML 1.0\n---\n",
    "%YAML 9.9\n---\n", "%TAG ! x\n---\n", "<<: *a\n", "<<", "=", "~", ".nan", ".inf", "-.inf", "1e999", "0x" + "f" * 4000, "9" * 5000, "1_000",
    "190:20:30", "0777", "no", "NO", "yes", "2026-01-02", '"\\ud800"', '"\\U99999999"', '"\\0"', "\u2028", "\x85", "\ufeff", "\x07", "\ud800",
    "[" * 300, "[" * 1100, "{a: " * 1100, "- " * 1100, "? " * 1100, "\n" + " " * 40 + "x: y\n", "version: 1\n", "persons: {}\n", "{id}", "{text:0}",
)  # fmt: skip


def judged(text: str) -> bool:
    """Whether the mapping is read; then everything that follows the reading works as well."""

    def load() -> None:
        compiled = compile_mapping(parse_mapping(text, "m.yaml"), Context(connection="main"))
        assert compiled.digest
        assert reads(compiled)

    return problems(load, "m.yaml", len(text.splitlines())) is None


@fuzz(28)
@given(
    st.sampled_from([SMALL, SMALL, *SHIPPED]),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 40), st.one_of(st.sampled_from(SNIPPETS), texts)),
        min_size=1,
        max_size=3,
    ),
)
@example(SMALL, [(0.0, 0, "%YAML 1.1\n---\n")])
@example("version: 1\n", [(1.0, 0, "a: &a [*a, *a]\n")])
@example("version: 1\n", [(1.0, 0, "a: &x b\nb: &x c\n")])
@example("version: 1\n", [(1.0, 0, "a: " + "[" * 1100)])
def test_a_file_with_characters_taken_out_and_put_in_is_read_or_refused_clearly(
    text: str, cuts: list[tuple[float, int, str]]
) -> None:
    for place, length, put in cuts:
        at = int(place * len(text))
        text = text[:at] + put + text[at + length :]
    judged(text)


@fuzz(42)
@given(
    st.lists(st.one_of(st.sampled_from(SNIPPETS), st.sampled_from(["a", "a: ", "\n", " ", ", "]), texts), max_size=14)
)
@example(["a: ", "!!bool x"])
@example(["a: ", "!!int ''"])
@example(["a: ", '"\\U99999999"'])
@example(["%YAML 1.0\n---\n", "a: ", "no"])
@example(["a: ", "{a: " * 1100])
def test_a_file_of_odd_pieces_is_refused_clearly(pieces: list[str]) -> None:
    assert not judged("".join(pieces))


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, value in items for found in ((*path, key), *places(value, (*path, key)))]


PLACES = places(PLAIN)


def holder(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def mutated(draw: Any, tree: Any) -> None:
    """One structural change at a random place, where that place is still there."""
    path = draw(st.sampled_from(PLACES))
    try:
        parent = holder(tree, path)
        value = parent[path[-1]]
    except (KeyError, IndexError, TypeError):
        return
    match draw(st.sampled_from(["delete", "swap", "swap", "rename", "double", "nest", "wrap"])):
        case "delete":
            del parent[path[-1]]
        case "swap":
            parent[path[-1]] = draw(st.one_of(trees, st.just(10**30), st.just(copy.deepcopy(PLAIN["persons"]))))
        case "rename" if isinstance(parent, dict):
            parent[draw(texts)] = parent.pop(path[-1])
        case "double" if isinstance(parent, list):
            parent.append(copy.deepcopy(value))
        case "nest":
            parent[path[-1]] = {draw(st.one_of(texts, st.just(str(path[-1])))): value}
        case "wrap":
            parent[path[-1]] = [value]


@st.composite
def bent(draw: Any) -> str:
    """A mapping with up to four structural changes, as JSON, which is YAML as well."""
    tree = copy.deepcopy(PLAIN)
    for _ in range(draw(st.integers(1, 4))):
        mutated(draw, tree)
    return json.dumps(tree, indent=1)


def changed(*path: Any, to: Any) -> str:
    tree = copy.deepcopy(PLAIN)
    holder(tree, path)[path[-1]] = to
    return json.dumps(tree, indent=1)


@fuzz(42)
@given(bent())
@example(changed("messages", "fields", 0, "template", to="\ud800"))
@example(changed("messages", "fields", 0, to={"crm": "Subject", "constant": float("nan")}))
@example(changed("persons", "match", "link_at", to=True))
@example(changed("zone", to="../" * 100 + "\x00"))
@example(changed("zone", to="A" * 5000))
@example(changed("persons", "fields", 0, "platform", to="n" * 100_000))
@example(changed("persons", "fields", 4, "transform", to={"text": {"limit": True}}))
def test_a_mapping_bent_out_of_shape_is_read_or_refused_clearly(text: str) -> None:
    judged(text)


@fuzz(17)
@given(
    st.lists(st.sampled_from(PLACES), min_size=1, max_size=6, unique=True), st.sampled_from(["zzz", "no such", "x.y"])
)
def test_every_unknown_key_is_told_at_once(paths: list[tuple[Any, ...]], key: str) -> None:
    """Unknown keys in the models of the file; in a table of values any key is welcome."""
    tree, put = copy.deepcopy(PLAIN), set()
    for path in paths:
        parent = holder(tree, path)
        if isinstance(parent, dict) and not {"values", "when", "transform", "text"} & set(path[:-1]):
            parent[key] = "x"
            put.add(path[:-1])
    text = json.dumps(tree, indent=1)
    error = problems(lambda: parse_mapping(text, "m.yaml"), "m.yaml", len(text.splitlines()))
    told = {problem.line for problem in error.problems if problem.message == "unknown key."} if error else set()
    lines = text.splitlines()
    assert told == {
        number for number, line in enumerate(lines, start=1) if line.strip().startswith(json.dumps(key) + ":")
    }
    assert len(told) == len(put)


def test_what_is_not_bent_is_read() -> None:
    assert all(judged(text) for text in (SMALL, json.dumps(PLAIN), *SHIPPED))


def test_aliases_that_multiply_end_at_the_bound_with_one_problem() -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
    few = "".join(laughs.splitlines(keepends=True)[:5])
    for text in (laughs, few, "a: &a [*a, *a]\n", "a: &a {b: *a, c: *a}\n", "a: &a\n  b: {c: *a, d: [*a]}\n"):
        error = problems(lambda text=text: parse_mapping(text, "m.yaml"), "m.yaml", 30)
        assert error
        assert len(error.problems) == 1
        assert "too large" in error.problems[0].message


def test_a_file_of_any_length_is_refused_before_it_is_parsed() -> None:
    error = problems(lambda: parse_mapping("[" * (MAX_TEXT + 1), "m.yaml"), "m.yaml", 1)
    assert error
    assert "longer than" in error.problems[0].message


def test_a_tag_runs_nothing_whatever_it_stands_on() -> None:
    marks: list[str] = []
    for node in ("[]", "{}", "x", "'x'", "[id]", "{a: b}"):
        for tag in (
            "!!python/object/apply:builtins.print",
            "!!python/name:os.system",
            "!!set",
            "!!omap",
            "!x",
            "!!str",
        ):
            error = problems(lambda text=f"version: {tag} {node}\n": parse_mapping(text, "m.yaml"), "m.yaml", 1)
            assert error
            marks += [problem.message for problem in error.problems if "the tag" in problem.message]
    assert len(marks) >= 6 * 5


def test_words_that_older_yaml_took_for_booleans_stay_words() -> None:
    for word in ("no", "NO", "yes", "on", "off", "y", "n"):
        mapping = parse_mapping(SMALL.replace("tags, direction", f"tags, default: {word}, direction", 1), "m.yaml")
        assert word in [line.default for line in mapping.persons.fields]
    assert parse_mapping(SMALL.replace("region: NL", "region: NO"), "m.yaml").region == "NO"

"""What the fuzzers share: their budget, hostile texts and values, and how the error of a file is judged.

CONNECTOR_FUZZ is the budget: at 1 the whole folder takes about half a minute and draws the same examples every time, above
1 it draws new ones and more of them. Nothing here is timed: what would hang is bounded by the size of what goes in.
"""

import os
import warnings
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from connector.errors import ConfigError

BUDGET = float(os.environ.get("CONNECTOR_FUZZ", "1"))
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

SECRET = "S3cr3tMarker"
"""Stands in the environment, in files of secrets, and in every place of a config where somebody could put a secret."""

LONGEST_ERROR = 4000
"""Characters of one problem: what it quotes may be as long as the file."""


def fuzz(examples: int) -> settings:
    """So many examples at a budget of 1."""
    return settings(
        max_examples=max(5, int(examples * BUDGET)),
        derandomize=BUDGET <= 1,
        deadline=None,
        print_blob=True,
        suppress_health_check=(*SLOW, HealthCheck.function_scoped_fixture),
    )


# Pieces that mean something to SQL, SOQL, addresses, headers, templates, Markdown, HTML, YAML or a terminal.
PIECES = (
    "'", '"', "\\", "\\'", "''", "') OR Name != ('", "' OR Id != '", "%", "_", "\n", "\r\n", "\t", "\b", "\f", "\x00", "\x1b[31m",
    "..", "/", "../../x", "1?admin=1", "1#x", "1&allOrNone=true", "%2e%2e%2f", "%00", ";", ":", "@", "@{r0.id}", "=", "null", ",",
    "{", "}", "{{", "}}", "{text}", "{0}", "{x!r}", "%s", "$x", "{% raw %}", "{{ 7 | times: 7 }}", "<b>", "</b>", "<!--", "&#", "&amp;",
    "`", "*", "[x](y)", "\ud800", "\udc00", "\ufeff", "\u202e", "\u2028", "é", "İ", "ß", "٣", "👩‍👩‍👧‍👦", "🇳🇱", "a\u0301", "0", "9" * 30, " ", "x",
)  # fmt: skip

texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=8).map("".join)
"""Hostile texts, halves of surrogate pairs among them."""

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), texts, st.sampled_from(["", "1", "true", "no"])
)  # fmt: skip

trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
"""Anything that JSON can say."""


def problems(load: Callable[[], object], file: str, lines: int) -> ConfigError | None:
    """The error that reading a file ends with, None where it was read. Every other exception, a warning (which quotes the
    file), and an error that is no help are failures."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            load()
        except ConfigError as error:
            found: ConfigError | None = error
        else:
            found = None
    assert not warned
    if found is None:
        return None
    assert found.problems
    assert SECRET not in str(found)
    for problem in found.problems:
        assert problem.file == file
        assert 0 <= problem.line <= lines + 1
        assert problem.message.strip(" .")
        assert len(str(problem)) <= LONGEST_ERROR
        str(problem).encode()
    return found

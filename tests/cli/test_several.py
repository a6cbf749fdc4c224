"""Several connections in one config: one that fails hides nothing of the others."""

import json

import pytest


@pytest.fixture
def two(site):
    """The connection `broken`, whose platform nobody can reach, stands before `main`."""
    path = site.folder / "config.yaml"
    text = path.read_text()
    head, main = text.split("  main:\n")
    main, service = main.split("service:")
    broken = main.replace(site.sandboxes.chatwoot_url, "http://127.0.0.1:9")
    path.write_text(f"{head}  broken:\n{broken}  main:\n{main}service:{service}")
    return site


@pytest.mark.parametrize(
    "command", [("plan",), ("sync",), ("audit",), ("backfill", "--since", "2020-01-01")], ids=" ".join
)
def test_a_connection_that_cannot_be_reached_hides_nothing_of_the_others(two, command):
    result = two.run(*command, "--json")
    assert result.exit_code == 5
    broken, main = json.loads(result.stdout)
    assert (broken["connection"], broken["exit_code"]) == ("broken", 5)
    assert "cannot be reached" in broken["errors"][0]["message"]
    assert (main["connection"], main["errors"]) == ("main", [])
    assert main["exit_code"] in (0, 1)


def test_the_error_names_the_connection_and_the_others_are_shown(two):
    shown = two.run("audit")
    assert shown.exit_code == 5
    assert "connection main" in shown.stdout
    assert "broken: chatwoot: " in " ".join(shown.stderr.split())

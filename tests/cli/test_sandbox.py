"""The sandbox commands: served as a process, loaded from a file, ended by Ctrl-C."""

import os
import signal
import stat
import subprocess
import sys

import pytest
import requests
from typer.testing import CliRunner

from connector.cli import app

HEADER = "tweet_id,author_id,inbound,created_at,text,response_tweet_id,in_response_to_tweet_id\n"
GOOD = (
    "1,501,True,Tue Oct 31 22:10:10 +0000 2017,@Shop where is my parcel,2,\n"
    "2,Shop,False,Tue Oct 31 22:11:45 +0000 2017,@501 On its way,,1\n"
)
BAD = "3,502,perhaps,Tue Oct 31 22:12:00 +0000 2017,Hello,,\n"


@pytest.fixture
def served(tmp_path):
    """`connector sandbox serve --empty`: its folder and its process, once both sandboxes answer."""
    program = "from connector.cli import main; main()"
    options = ["--dir", str(tmp_path / "box"), "--chatwoot-port", "0", "--salesforce-port", "0", "--empty"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, "sandbox", "serve", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    told = []
    for line in process.stdout:
        told.append(line)
        if "Ctrl-C" in line:
            break
    yield tmp_path / "box", process, told
    if process.poll() is None:
        process.terminate()
    process.communicate(timeout=60)


def load(box, file, *options):
    return CliRunner().invoke(app, ["sandbox", "load", str(file), "--dir", str(box), *options])


def test_a_file_is_loaded_whole_or_not_at_all_and_ctrl_c_ends_it(served, tmp_path):
    box, process, told = served
    url = told[0].split()[1]
    assert stat.S_IMODE((box / "store-key").stat().st_mode) == 0o600

    bad = tmp_path / "bad.csv"
    bad.write_text(HEADER + GOOD + BAD)
    refused = load(box, bad)
    assert refused.exit_code == 1
    assert any(line.startswith("line 4: ") for line in refused.stderr.splitlines()), refused.stderr
    assert "--skip-bad" in refused.stderr
    assert requests.get(f"{url}/__control/stats", timeout=30).json()["messages"] == 0

    taken = load(box, bad, "--skip-bad")
    assert taken.exit_code == 0
    assert "1 conversations, 2 messages" in taken.stdout
    assert "left out: line 4" in taken.stdout
    assert load(box, bad, "--skip-bad").exit_code == 1

    options = ["--dir", str(tmp_path / "other"), "--chatwoot-port", url.rpartition(":")[2], "--salesforce-port", "0"]
    second = CliRunner().invoke(app, ["sandbox", "serve", *options])
    assert second.exit_code == 1
    assert url.rpartition(":")[2] in second.stderr

    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert not requests_answer(url)


def requests_answer(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False

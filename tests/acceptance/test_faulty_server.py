"""A server that fails now and then, through the command line: the ledger is its count, and no file holds the key."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from processes import Commands

from maker.testing import LOST, FakeReply, FakeServer, Fault, FaultyServer, chat_completion

KEY = "sk-acceptance-0123456789"
P = 0.9
JOB = """\
[task]
decomposer = "map"
input = "rows.csv"
template = "Is {{{{number}}}} even or odd?"
output = "out"
[model]
kind = "openai"
url = "{url}"
name = "parity"
key_env = "TEST_KEY"
timeout_s = 8
[swarm]
chains = 16
[vote]
k = 3
max_votes = 9
"""


def parity(prompt: str, seed: int) -> str:
    """Say whether the number is even; a tenth of all seeds say it wrongly."""
    luck = int.from_bytes(blake2b(f"{seed} {prompt}".encode(), digest_size=4).digest(), "big") / 2**32
    number = int(re.findall("[0-9]+", prompt)[-1])
    return "even" if (number % 2 == 0) == (luck < P) else "odd"


@pytest.fixture
def rows(maker: Commands) -> Callable[[int, str], Commands]:
    """Return a function that writes a map of so many rows over a server."""

    def write(count: int, url: str) -> Commands:
        maker.write("rows.csv", "number\n" + "".join(f"{number}\n" for number in range(count)))
        maker.write("job.toml", JOB.format(url=url))
        maker.env["TEST_KEY"] = KEY
        return maker

    return write


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Return a folder for Ray's session, short enough for the sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="mk"))
    yield folder
    shutil.rmtree(folder)


def holding(text: str, *folders: Path) -> list[str]:
    """Return the files that hold a text; sockets, and files that are gone, hold none."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return [str(file) for file in files if text.encode() in file.read_bytes()]


@pytest.mark.slow
def test_the_ledger_is_the_servers_count(rows: Callable[[int, str], Commands]) -> None:
    """A tenth of all requests fail in one of seven ways: calls, tokens, retries and what is untold are the server's."""
    with FaultyServer(parity, rate=0.1, seed=3, slow_s=20.0) as server:
        maker = rows(200, server.url)
        done = maker.run("run", "job.toml")
        served = server.served
    assert done.returncode == 0, done.stderr
    maker.good("verify", "last")
    shown = maker.json("show", "last")
    (ledger,) = shown["models"]
    assert set(served.faults) == set(Fault)
    assert shown["result"]["rows"] == 200
    assert "failed" not in shown["result"]
    for name in ("calls", "prompt_tokens", "completion_tokens", "untold"):
        assert ledger[name] == getattr(served, name), name
    assert ledger["retries"] == sum(served.faults.values())
    assert ledger["requests"] + ledger["retries"] == served.requests
    assert KEY not in done.stdout + done.stderr
    assert holding("parity", maker.folder)
    assert not holding(KEY, maker.folder)


@pytest.mark.slow
def test_no_limit_is_passed_by_the_servers_own_count(rows: Callable[[int, str], Commands]) -> None:
    """Killed on its way, resumed to its limit, then to its end: calls that were drawn and lost on the way count too."""
    lost = LOST | {Fault.BROKEN}
    with FaultyServer(parity, rate=0.1, seed=4, faults=lost, slow_s=4.0) as server:
        maker = rows(120, server.url)
        maker.write("job.toml", (maker.folder / "job.toml").read_text().replace("timeout_s = 8", "timeout_s = 1"))

        def drawn() -> int:
            return server.served.calls + server.served.untold

        process = maker.start("run", "job.toml", "limits.max_calls=240")
        while drawn() < 100:
            assert process.poll() is None, maker.output()
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert drawn() < 240
        paused = maker.run("resume", "last")
        assert paused.returncode == 4, paused.stderr
        assert "max_calls = 240" in paused.stdout
        assert 100 < drawn() <= 240
        maker.good("resume", "last", "limits.max_calls=2000")
        assert drawn() <= 2000
        served = server.served
    shown = maker.json("show", "last")
    assert shown["status"] == "done"
    assert shown["calls"] + shown["reserved_calls"] >= served.calls + served.untold
    maker.good("verify", "last")


@pytest.mark.parametrize("body", [{"error": {"message": f"no such key: {KEY}"}}, f"<html>{KEY}</html>"])
def test_a_key_that_the_server_says_again_is_written_nowhere(
    rows: Callable[[int, str], Commands], body: dict[str, Any] | str
) -> None:
    """What is refused is told and kept with the run, without the key; nor is it in a log that tells everything."""
    with FakeServer(lambda _: (401, body)) as server:
        maker = rows(3, server.url)
        done = maker.run("--verbose", "run", "job.toml")
    assert done.returncode == 2, done.stderr
    shown = maker.good("show", "last", "--json")
    assert "[key]" in done.stderr
    assert "[key]" in shown
    assert KEY not in done.stdout + done.stderr + shown
    assert not holding(KEY, maker.folder)


@pytest.mark.slow
def test_ray_writes_the_key_nowhere(rows: Callable[[int, str], Commands], ray_folder: Path) -> None:
    """Neither the session folder of a Ray that the run starts nor anything of the run's own holds the key."""
    with FaultyServer(parity, rate=0.1, seed=5, slow_s=20.0) as server:
        maker = rows(30, server.url)
        maker.env["RAY_TMPDIR"] = str(ray_folder)
        done = maker.run("run", "job.toml", "swarm.kind=ray", fresh=True)
        calls = server.served.calls
    assert done.returncode == 0, done.stderr
    assert maker.json("show", "last")["calls"] == calls
    assert not maker.left()
    assert holding("ray", ray_folder)
    assert KEY not in done.stdout + done.stderr
    assert not holding(KEY, maker.folder, ray_folder)


VLLM_SAYS = (
    "This model's maximum context length is 8192 tokens. However, you requested 512 output tokens and your prompt "
    "contains at least 7681 input tokens, for a total of at least 8193 tokens."
)
OPENAI_SAYS = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. Please reduce "
    "the length of the messages."
)


@pytest.mark.parametrize(("says", "length"), [(VLLM_SAYS, "7681 input tokens"), (OPENAI_SAYS, "9000 tokens")])
def test_a_prompt_beyond_the_context_names_its_row_and_its_length(
    rows: Callable[[int, str], Commands], says: str, length: str
) -> None:
    """Row 2 of 4 is too long: it fails with the server's numbers, the others are decided."""

    def script(body: Any) -> FakeReply:
        prompt = body["messages"][-1]["content"]
        if "2" in prompt:
            return FakeReply(400, {"error": {"message": says, "code": "context_length_exceeded"}})
        return FakeReply(200, chat_completion([parity(prompt, 0)] * body.get("n", 1)))

    with FakeServer(script) as server:
        maker = rows(4, server.url)
        assert maker.run("run", "job.toml").returncode == 3
    assert maker.json("show", "last")["result"] == {"rows": 4, "decided": 3, "failed": 1}
    results = maker.good("results", "last")
    assert length in results
    assert "8192 tokens" in results


def test_an_interrupted_trial_keeps_what_had_come(maker: Commands) -> None:
    """`maker try` prints the first replies while the next request hangs; Ctrl-C then ends it with a total, exit 130."""

    def script(body: Any) -> FakeReply:
        if body.get("n", 1) == 3:
            return FakeReply(200, chat_completion(["1AC", "1AB", "1AC"]))
        return FakeReply(200, {}, delay_s=60)

    with FakeServer(script) as server:
        job = f'[task]\ndecomposer = "hanoi"\ndisks = 3\n[model]\nkind = "openai"\nurl = "{server.url}"\nname = "m"\n'
        maker.write("job.toml", job + "[vote]\nk = 3\n")
        trial = maker.start("try", "job.toml", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert trial.stdout is not None
        came = ""
        while "sample 2" not in came:
            came += trial.stdout.readline()
        trial.send_signal(signal.SIGINT)
        out, err = trial.communicate(timeout=30)
    assert trial.returncode == 130
    assert re.findall(r"sample \d (\w+)", came) == ["1AC", "1AB", "1AC"]
    assert out.endswith("  INTERRUPTED\n")
    assert err.splitlines()[-1] == (
        "interrupted: 0 steps decided, 3 replies in all; 2 more had been asked for and may be billed; nothing is stored"
    )

"""Runs commands in processes that are ready to: forks of one that has imported the command line already.

The import is most of what a short command costs, and hundreds of commands only set something up, or say how it stands.
All else is as with ``python -m maker``: a process of its own with its folder, environment, streams, end and exit code.
What a fresh process does is for the tests that start one; see also `test_a_fresh_process_says_the_same`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import itertools
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

LOADED = ("maker.cli.app", "maker.cli.logs", "maker.store.backend.migrate")
READY_S = 60.0
MESSAGE_BYTES = 200_000


class Warm:
    """Forks for each command; ends with the process that made it.

    Args:
        env: The environment that the command line is imported in.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # The folder is not the tests' own, so that nothing in it can be imported by accident.
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], cwd=Path(__file__).parent, env=env,
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        atexit.register(self.close)

    def run(
        self, words: list[str], *, folder: Path, env: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as `subprocess.run` does with captured output and without input."""
        asked = json.dumps({"words": words, "folder": str(folder), "env": dict(env)}).encode()
        assert len(asked) < MESSAGE_BYTES
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, Path(os.devnull).open() as nothing:
            with self._lock:
                socket.send_fds(self._door, [asked], [stream.fileno() for stream in (nothing, output, errors)])
                code = self._code(words, timeout_s)
            for stream in (output, errors):
                stream.seek(0)
            return subprocess.CompletedProcess(words, code, output.read().decode(), errors.read().decode())

    def close(self) -> None:
        """End the process."""
        self._door.close()
        self._process.wait(READY_S)

    def _code(self, words: list[str], timeout_s: float) -> int:
        self._door.settimeout(READY_S)
        pid = self._told()
        self._door.settimeout(timeout_s)
        try:
            return self._told()
        except BaseException as error:
            os.kill(pid, signal.SIGKILL)
            self._door.settimeout(READY_S)
            self._told()
            if isinstance(error, TimeoutError):
                raise subprocess.TimeoutExpired(words, timeout_s) from None
            raise

    def _told(self) -> int:
        data = self._door.recv(MESSAGE_BYTES)
        assert data, f"the process that forks has ended with {self._process.wait()}"
        return int(data)


@cache
def _warm(_number: int) -> Warm:
    own = ("MAKER_", "RAY_", "PYTEST_")
    return Warm({name: value for name, value in os.environ.items() if not name.startswith(own)})


DECIDING = {"run", "resume", "retry"}
_turns = {deciding: itertools.cycle(range(2)) for deciding in (False, True)}


def run(
    words: list[str], *, folder: Path, env: Mapping[str, str], timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as `subprocess.run` does with captured output and without input.

    Two processes fork in turn, as sets of texts are in another order in each: a run that is begun in one and gone on
    with in the other must not show it.
    """
    turns = _turns[not DECIDING.isdisjoint(words)]
    return _warm(next(turns)).run(words, folder=folder, env=env, timeout_s=timeout_s)


def serve(door: socket.socket) -> dict[str, Any]:
    """Fork for every command that is asked for and say how it ended; return what was asked, in the fork."""
    while True:
        data, streams, _, _ = socket.recv_fds(door, MESSAGE_BYTES, 3)
        if not data:
            sys.exit()
        if (pid := os.fork()) == 0:
            door.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            asked: dict[str, Any] = json.loads(data)
            return asked
        for stream in streams:
            os.close(stream)
        door.send(b"%d" % pid)
        door.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def main() -> None:
    """Import the command line; run it in every fork."""
    del sys.path[0]
    for module in LOADED:  # No plugin: each command finds its own.
        importlib.import_module(module)
    for command in sys.modules["maker.cli.app"].COMMANDS.values():
        command.load()
    # What is frozen is not looked at by the collector, so that a fork shares it.
    gc.collect()
    gc.freeze()
    asked = serve(socket.socket(fileno=int(sys.argv[1])))
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.path.insert(0, asked["folder"])
    sys.argv[1:] = asked["words"]
    runpy.run_module("maker", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

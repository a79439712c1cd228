"""maker starts and runs without what only POSIX has: no module of it may need that at import, nor on its usual path."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_POSIX = '''
import asyncio, builtins, importlib, logging, multiprocessing, os, pkgutil, random, signal, subprocess, sys, threading

OURS, POSIX = ("maker", "decomposers", "voters"), ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog")
usual = builtins.__import__

def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    if name in POSIX and str((globals or {}).get("__name__")).partition(".")[0] in OURS:
        raise ImportError(f"{globals['__name__']} imports {name}", name=name)
    return usual(name, globals, locals, fromlist, level)

builtins.__import__ = guarded

class Less:
    """A module without some of its names, for our code alone: libraries have their own ways."""
    def __init__(self, module, names):
        self.__dict__.update(_module=module, _names=names)
    def __getattr__(self, name):
        if name in self._names and sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] in OURS:
            raise AttributeError(f"{self._module.__name__}.{name}")
        return getattr(self._module, name)
    def __setattr__(self, name, value):
        setattr(self._module, name, value)

sys.modules["signal"] = Less(signal, {"SIGHUP", "SIGKILL", "SIGQUIT", "SIGTSTP", "SIGUSR1", "SIGALRM", "alarm"})
sys.modules["os"] = Less(os, {"fork", "register_at_fork", "getuid", "geteuid", "getpgid", "killpg", "uname"})

sys.modules.update(dict.fromkeys(EXTRAS))
lacking = []

import maker, decomposers, voters
for package in (maker, decomposers, voters):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as missing:
            if str(missing.name).partition(".")[0] not in EXTRAS:
                raise
            lacking.append(module.name)

from maker.cli import main
def command(*words):
    sys.argv = ["maker", *words]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0

codes = [command(*words) for words in COMMANDS]
print("LACKING", *lacking)
print("CODES", codes)
'''


ENGINES = ("torch", "transformers", "tokenizers", "safetensors", "vllm")
EXTRAS = (*ENGINES, "alembic", "numpy", "opentelemetry", "psycopg", "pyarrow", "ray", "scipy", "yaml", "zstandard")
NEED_EXTRAS = re.compile(
    r"maker\.(training|stats|calibration)\.\w+|maker\.store\.backend\.postgres|maker\.swarm\.(ray|cluster|losses)"
)
"""Modules that may import at their top what an extra brings: others import them when they are asked for it."""


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param(ENGINES, id="with_extras", marks=[pytest.mark.plan, pytest.mark.postgres, pytest.mark.ray]),
        pytest.param(EXTRAS, id="without_extras"),
    ],
)
def test_maker_starts_and_runs_without_posix(tmp_path: Path, missing: tuple[str, ...]) -> None:
    """Every module can be imported; the version, the help, a run and a map's files come without it."""
    # What locks folders on Windows.
    pytest.importorskip("filelock")
    (tmp_path / "rows.csv").write_text("id,text\na,good\nb,bad\n")
    (tmp_path / "job.toml").write_text(
        '[task]\ndecomposer = "map"\ninput = "rows.csv"\noutput = "out"\ntemplate = "Is it good? {{text}}"\n'
        'truth = "truth.py:truth"\n[model]\nkind = "simulated"\np = 1.0\n[vote]\nk = 1\n'
    )
    (tmp_path / "truth.py").write_text(
        "from maker.plugin import Truth\ndef truth(p): return Truth(('yes',), ('no',))\n"
    )
    words = [
        ["--version"],
        ["--help"],
        ["run", "job.toml"],
        ["ls"],
        ["show", "last"],
        ["verify", "last"],
        ["results", "last"],
    ]
    code = f"COMMANDS, EXTRAS = {words!r}, {missing!r}\n{WITHOUT_POSIX}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    lacking, codes = done.stdout.splitlines()[-2:]
    assert codes == f"CODES {[0] * len(words)}", done.stdout + done.stderr
    print(lacking)
    assert all(NEED_EXTRAS.fullmatch(name) for name in lacking.split()[1:])
    answers = [json.loads(line) for line in next((tmp_path / "out").glob("rows-*.jsonl")).read_text().splitlines()]
    assert [answer["id"] for answer in answers] == ["a", "b"]
    assert not (tmp_path / "out" / ".maker-lock").exists()

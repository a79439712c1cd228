"""Importing maker is cheap: what a program does not use is not loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"ray", "vllm", "torch", "transformers", "opentelemetry"}


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh process has loaded after some code."""
    tail = "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_maker_loads_nothing_heavy() -> None:
    """``import maker`` loads neither ray, vllm nor torch."""
    loaded = loaded_by("import maker")
    print(sorted(loaded - sys.stdlib_module_names))
    assert loaded & HEAVY == set()


def test_naming_the_front_door_loads_nothing_heavy() -> None:
    """Nor does ``maker.run``, before it is called."""
    loaded = loaded_by("import maker; maker.run")
    print(sorted(loaded - sys.stdlib_module_names))
    assert loaded & HEAVY == set()


def test_the_command_line_starts_with_nothing_heavy() -> None:
    """What a single command needs is loaded by that command."""
    assert loaded_by("import maker.cli.app") & (HEAVY | {"numpy", "scipy"}) == set()


def test_the_help_loads_no_command() -> None:
    """Nor what opens stores, asks models or logs: it is there at once."""
    code = "import contextlib, sys, maker.cli\nsys.argv = ['maker', '--help']\n"
    code += "with contextlib.suppress(SystemExit):\n    maker.cli.main()"
    heavy = HEAVY | {"numpy", "sqlalchemy", "httpx", "pydantic", "structlog", "rich", "fsspec"}
    assert loaded_by(code) & heavy == set()


def test_a_plugin_loads_its_one_interface() -> None:
    """A plugin loads neither store nor model nor swarm; what opens files is loaded when one is read."""
    loaded = loaded_by("import decomposers.hanoi, decomposers.map, voters.majority")
    assert loaded & (HEAVY | {"sqlalchemy", "alembic", "httpx", "typer", "fsspec"}) == set()


@pytest.mark.parametrize(
    "name", ["run", "resume", "show", "steps", "verify", "report", "load_job", "MakerError", "RunReport", "Report"]
)
def test_the_public_names_are_there(name: str) -> None:
    """Each name of ``maker.__all__`` can be had, and an unknown one is told as such."""
    import maker

    assert name in maker.__all__
    assert getattr(maker, name) is not None
    assert name in dir(maker)


def test_all_public_names_resolve() -> None:
    """Nothing is promised that is not there."""
    import maker

    assert [name for name in maker.__all__ if not hasattr(maker, name)] == []
    with pytest.raises(AttributeError, match="no_such_name"):
        maker.no_such_name  # noqa: B018

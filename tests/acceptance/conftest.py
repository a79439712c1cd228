"""What the acceptance tests share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres_server import Pooler, PostgresServer
from processes import Commands

from maker.store.backend.database import upgrade_database

ROOT = Path(__file__).parents[2]


@pytest.fixture
def commands_in(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], Commands]]:
    """Return what gives the command line in an empty folder; what it leaves running is ended after the test.

    With the parameter "pgbouncer", its store is a PostgreSQL database of its own, reached through a pooler.
    """
    made: list[Commands] = []

    def in_folder(folder: Path) -> Commands:
        made.append(Commands(folder, server(request) if getattr(request, "param", "sqlite") == "pgbouncer" else None))
        return made[-1]

    yield in_folder
    for commands in made:
        commands.end()


def server(request: pytest.FixtureRequest) -> str:
    """Return the URL, through the pooler, of a new database that is ready for runs."""
    postgres: PostgresServer = request.getfixturevalue("postgres")
    pooler: Pooler = request.getfixturevalue("pooler")
    url = pooler.url(postgres.create_database())
    upgrade_database(url)
    return url


@pytest.fixture
def maker(commands_in: Callable[[Path], Commands], tmp_path: Path) -> Commands:
    """Return the command line in an empty folder."""
    return commands_in(tmp_path)


@pytest.fixture
def examples(maker: Commands) -> Commands:
    """Return a folder with a copy of the examples, models left out."""
    left_out = shutil.ignore_patterns("hanoi_microagent", "__pycache__", "*.db*")
    shutil.copytree(ROOT / "examples", maker.folder / "examples", ignore=left_out)
    return maker

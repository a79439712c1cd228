"""The help: commands in groups with whole descriptions; a shell completes commands and run ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from maker import api
from maker.cli.app import COMMANDS, GROUPS, app


def maker(*words: str, **environment: str) -> Result:
    """Run a command in this process, on a terminal of the default width."""
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "80"} | environment, prog_name="maker")


def test_the_help_groups_whole_descriptions() -> None:
    """Each group has its title, each command its line, and no line is cut or wrapped at 80 columns."""
    lines = maker("--help").output.splitlines()
    for title, group in GROUPS.items():
        at = lines.index(f"{title}:")
        for number, (name, command) in enumerate(group.items(), at + 1):
            assert lines[number].split(maxsplit=1) == [name, command.line]
    assert all(len(line) <= 80 and "..." not in line.partition("ARGS")[0] for line in lines)


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"db"}))
def test_the_line_of_a_command_is_the_first_of_its_own_help(command: str) -> None:
    """The help has a line for a command without importing it: the same as the command says itself."""
    line, *_ = str(COMMANDS[command].load().__doc__).splitlines()
    assert COMMANDS[command].line == line


def test_the_line_of_a_group_is_that_of_its_own_help() -> None:
    """`maker db` says of itself what the help says of it."""
    assert COMMANDS["db"].line in maker("db", "--help").output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(command: str) -> None:
    """It begins with how the command is called and says what each option does."""
    done = maker(command, "--help")
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: maker {command} ")
    assert "Options:" in done.output


def test_a_shell_completes_run_ids(hanoi: Callable[..., Any], store: str) -> None:
    """The runs of the store at hand are offered, by --store or MAKER_STORE; without a store there are none."""
    run = api.run(hanoi(disks=2)).run_id
    asked = {"_MAKER_COMPLETE": "complete_bash", "COMP_WORDS": "maker show 2", "COMP_CWORD": "2"}
    assert maker(MAKER_STORE=store, **asked).output.split() == [run]
    assert maker(MAKER_STORE=f"{store}.none", **asked).output.split() == []
    given = asked | {"COMP_WORDS": f"maker show --store {store} 2", "COMP_CWORD": "4"}
    assert maker(**given).output.split() == [run]

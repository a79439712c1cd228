"""No password is ever told: however the store's URL is written, and whatever command fails on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from maker import api
from maker.cli.app import app
from maker.errors import MakerError
from maker.store.backend.database import open_database, shown_url

SECRET = "Xq7secretZ"  # noqa: S105
PLACE = "127.0.0.1:1/name"
SPELLINGS = (
    f"postgresql://u:{SECRET}@{PLACE}",
    f"postgresql+psycopg://u:{SECRET}@{PLACE}",
    f"postgres://u:{SECRET}@{PLACE}",
    f"POSTGRESQL://u:{SECRET}@{PLACE}",
    f"mysql://u:{SECRET}@{PLACE}",
    f"postgresql://u:{SECRET}@127.0.0.1:1,127.0.0.2:1/name",
    f"postgresql://u:a@{SECRET}@{PLACE}",
    f"postgresql://u:a/{SECRET}@{PLACE}",
    f"postgresql://u:a:{SECRET}@{PLACE}",
    f"postgresql://u:a?{SECRET}@{PLACE}",
    f"postgresql://u%3A{SECRET}@{PLACE}",
    f"postgresql://u:{SECRET}@127.0.0.1:port/name",
    f"postgresql://u:{SECRET}",
    f"postgresql:/u:{SECRET}@{PLACE}",
    f"postgresql:u:{SECRET}@{PLACE}",
    f"postgresql:///u:{SECRET}@{PLACE}",
    f"postgresql:///u:{SECRET}",
    f"//u:{SECRET}@{PLACE}",
    f"u:{SECRET}@{PLACE}",
    f"host=127.0.0.1 port=1 user=u password={SECRET} dbname=name",
    f"host=127.0.0.1 port=1 user=u password = '{SECRET}'",
    f"password={SECRET}",
    f"postgresql:///host=127.0.0.1 port=1 password={SECRET}",
    *(
        f"postgresql://u@{PLACE}?{name}={SECRET}"
        for name in (
            "password", "PASSWORD", "p%61ssword", "pass", "sslpassword", "SslPassword", "passfile",
            "oauth_client_secret", "scram_client_key", "options", "api_key",
        )
    ),
    f"postgresql://u@{PLACE}?dbname=password={SECRET}",
    f"postgresql://u@{PLACE}?host=u:{SECRET}@h",
    f"postgresql://u@{PLACE}?user=u&sslmode=prefer&password={SECRET}",
    f"sqlite:///no/such/folder/maker.db?password={SECRET}",
)  # fmt: skip
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("run", "job.toml"), ("resume", "last"), ("retry", "last"), ("ls",), ("show", "last"), ("steps", "last"),
    ("results", "last"), ("verify", "last"), ("report", "last", "--out", "out.html"),
    ("export", "last", "--out", "out"), ("fork", "last", "--at", "1"),
    ("cancel", "20000101-000000-000000"), ("prune", "20000101-000000-000000"),
    ("watch", "last"), ("db", "upgrade"),
)  # fmt: skip


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what gives all that a command prints, in a folder with a job file."""
    monkeypatch.chdir(tmp_path)
    Path("job.toml").write_text('[task]\ndecomposer = "hanoi"\n[model]\nkind = "simulated"\n[vote]\nk = 3\n')

    def tell(*words: str, **env: str) -> str:
        done = CliRunner().invoke(app, list(words), env=env)
        assert done.exit_code != 0, (words, env)
        return done.output + str(done.stderr)

    return tell


@pytest.mark.parametrize("url", SPELLINGS)
def test_no_spelling_shows_a_password(url: str, told: Callable[..., str]) -> None:
    """Neither the URL as it is shown, nor the error with its causes, nor what is printed holds the secret."""
    assert SECRET not in shown_url(url)
    with pytest.raises(MakerError) as caught:
        open_database(url, create=True)
    assert SECRET not in f"{caught.value}{caught.value.facts}"
    cause = caught.value.__cause__
    assert SECRET not in str(cause)
    assert SECRET not in told("show", "last", "--store", url)
    assert SECRET not in told("ls", MAKER_STORE=url)
    assert SECRET not in told("run", "job.toml", f"store.url={url}")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_tells_a_password(words: tuple[str, ...], told: Callable[..., str]) -> None:
    """Every command that opens a store fails without a word of the secret."""
    for url in (SPELLINGS[0], SPELLINGS[6], SPELLINGS[19]):
        assert SECRET not in told(*words, "--store", url)


@pytest.mark.filterwarnings("ignore:Query string")
def test_no_password_is_stored(tmp_path: Path, hanoi: Any) -> None:
    """A run's stored settings do not hold the URL of its store."""
    report = api.run(hanoi(3) | {"store": {"url": f"sqlite:///{tmp_path}/kept.db?password={SECRET}"}})
    assert report.status == "done"
    assert "url" not in report.settings["store"]
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("kept.db*"))


@given(st.text(min_size=1, max_size=20), st.sampled_from(("postgresql", "postgres", "mysql", "postgresql+psycopg")))
def test_an_escaped_password_is_never_shown(password: str, scheme: str) -> None:
    """Whatever a password is made of, between two marks it is found nowhere in what is shown."""
    secret = f"{SECRET}{password}{SECRET}"
    for written in (quote(secret, safe="") if secret.isprintable() else SECRET, SECRET + password.replace("\n", " ")):
        for url in (
            f"{scheme}://u:{written}@{PLACE}",
            f"{scheme}://u@{PLACE}?password={written}",
            f"{scheme}:{written}",
        ):
            assert SECRET not in shown_url(url)

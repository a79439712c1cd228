"""The image and the composition, as far as that can be seen without Docker: what they name is there and fits."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()


@pytest.fixture
def services() -> dict[str, Any]:
    """Return the services of the composition, with what they take from one another merged in."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
    return found


def copied() -> list[str]:
    """Return what the image's build copies from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return [name for line in lines for name in line.split()]


@pytest.mark.slow
def test_the_wheel_of_the_image_is_the_wheel(tmp_path: Path) -> None:
    """Built from no more than what the image copies, it holds what one of the whole checkout does."""
    names = []
    for place in ("image", "checkout"):
        folder = ROOT
        if place == "image":
            folder = tmp_path / place
            folder.mkdir()
            for name in copied():
                source = ROOT / name
                (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
        done = subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / f"of_{place}"), str(folder)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (wheel,) = (tmp_path / f"of_{place}").glob("*.whl")
        names.append({name for name in zipfile.ZipFile(wheel).namelist() if "__pycache__" not in name})
    assert names[0] == names[1]


def test_what_the_image_copies_is_sent_to_the_build() -> None:
    """`.dockerignore` leaves out everything else, caches too, and nothing that is copied."""
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())
    assert fnmatch.fnmatch("maker/__pycache__", lines[-1])


def test_the_image_installs_extras_that_there_are() -> None:
    """The extras of the image stand in pyproject.toml; it runs as somebody without rights."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["1000"]
    assert "--uid 1000" in DOCKERFILE


def test_services_wait_for_services_that_there_are(services: dict[str, Any]) -> None:
    """Each `depends_on` names a service that can become what is waited for."""
    assert services.keys() == {"postgres", "vllm", "upgrade", "worker", "maker"}
    for service in services.values():
        for name, wait in service.get("depends_on", {}).items():
            healthy = "healthcheck" in services[name]
            assert wait["condition"] == ("service_healthy" if healthy else "service_completed_successfully")


def test_the_commands_of_the_services_are_commands(services: dict[str, Any]) -> None:
    """The image's own services call commands that there are."""
    called = {name: service["command"] for name, service in services.items() if "build" in service and name != "maker"}
    assert called == {"upgrade": ["db", "upgrade"], "worker": ["worker"]}
    for words in called.values():
        done = subprocess.run(
            [sys.executable, "-m", "maker", *words, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_no_secret_stands_in_the_files(services: dict[str, Any]) -> None:
    """The password comes from outside, and not in a URL; nothing starts without it."""
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    for name in ("upgrade", "worker", "maker"):
        environment = services[name]["environment"]
        assert environment == {
            "MAKER_STORE": "postgresql://maker@postgres/maker",
            "PGPASSWORD": services["postgres"]["environment"]["POSTGRES_PASSWORD"],
        }

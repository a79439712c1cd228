"""The wheel that users get: built, installed into an environment of its own, and used far from this repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PACKAGES = ("maker", "decomposers", "voters")
JOB = """
[task]
decomposer = "hanoi"
disks = 5
[model]
kind = "simulated"
p = 0.9
[vote]
k = 4
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


class Installed:
    """An environment with the wheel in it, and an empty folder to work in."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python = python
        self.folder = folder
        own = ("MAKER_", "PYTHON", "PYTEST_", "RAY_", "VIRTUAL_ENV")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(own)}

    def run(self, *words: str, code: int = 0) -> str:
        """Run the environment's Python with these words; return what it prints."""
        done = subprocess.run(
            [self.python, *words], cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def script(self, *words: str, code: int = 0) -> str:
        """Run the console script ``maker``."""
        return self.run(str(self.python.parent / "maker"), *words, code=code)


def environment_with(wheel: Path, folder: Path, extras: str = "") -> Path:
    """Install the wheel with its dependencies into a new environment; return the environment's Python."""
    venv.create(folder)
    python = folder / "bin" / "python"
    # Our pip does it, and what is used compiles itself: most modules of what we depend on never are.
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-compile"]
    done = subprocess.run(
        [*pip, "--quiet", "--disable-pip-version-check", f"{wheel}{extras}"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return python


@pytest.fixture(scope="module")
def lean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment without any extra."""
    return environment_with(wheel, tmp_path_factory.mktemp("lean"))


@pytest.fixture(scope="module")
def whole(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the extras of plans and of Ray."""
    return environment_with(wheel, tmp_path_factory.mktemp("whole"), "[plan,ray]")


@pytest.fixture
def installed(lean: Path, tmp_path: Path) -> Installed:
    """Return the environment without extras, with an empty folder to work in."""
    return Installed(lean, tmp_path)


@pytest.fixture
def with_extras(whole: Path, tmp_path: Path) -> Installed:
    """Return the environment with extras, with an empty folder to work in."""
    return Installed(whole, tmp_path)


def test_the_wheel_holds_what_it_must_and_nothing_else(wheel: Path) -> None:
    """Three typed packages with their migrations, licence and entry points; no tests, examples or model weights."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    migrations = {f"maker/store/backend/migrations/{name}.py" for name in ("__init__", "0001_first_schema")}
    assert migrations <= names
    tops = {name.split("/", 1)[0] for name in names}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {*PACKAGES, info}
    assert any(name.startswith(info) and name.endswith("LICENSE") for name in names)
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    assert {str(path.relative_to(ROOT)) for path in files if path.suffix != ".pyc"} <= names


def test_it_is_the_installed_one(installed: Installed) -> None:
    """Nothing of the repository is on the path: all three packages come from the environment."""
    text = f"import json, {', '.join(PACKAGES)}; print(json.dumps([m.__file__ for m in ({', '.join(PACKAGES)})]))"
    files = json.loads(installed.run("-c", text))
    assert all(Path(file).is_relative_to(installed.python.parents[1]) for file in files), files


def test_importing_maker_loads_nothing_heavy(installed: Installed) -> None:
    """`import maker`, and all of its public names, load neither ray, vllm nor torch."""
    text = """
import sys
import maker
assert not {"ray", "vllm", "torch", "sqlalchemy"} & set(sys.modules)
for name in maker.__all__:
    getattr(maker, name)
assert not {"ray", "vllm", "torch", "transformers"} & set(sys.modules)
print(maker.__version__)
"""
    assert installed.run("-c", text) == installed.script("--version")


def test_plugins_are_found(installed: Installed) -> None:
    """The wheel's entry points are found, each in the environment."""
    found = [json.loads(line) for line in installed.script("plugins", "--json").splitlines()]
    assert {plugin["name"] for plugin in found} >= {
        "connect",
        "hanoi",
        "map",
        "multiply",
        "sort",
        "first-to-ahead-by-k",
        "first-to-k",
        "majority",
        "sprt",
        "bayes",
        "certificate",
    }
    assert all(Path(plugin["file"]).is_relative_to(installed.python.parents[1]) for plugin in found)


def test_a_run_from_anywhere(installed: Installed) -> None:
    """A job is run, broken off, resumed and verified in a folder that knows nothing of the repository."""
    installed.script("init", "map", "mine")
    assert "is done" in installed.script("run", "mine/job.toml")
    (installed.folder / "job.toml").write_text(JOB)
    assert "is done" in installed.script("run", "job.toml")
    installed.script("verify", "last")
    assert "is paused" in installed.script("run", "job.toml", "--limit-steps", "9", code=5)
    installed.run("-m", "maker", "resume", "last")
    installed.script("verify", "last")


# --- without extras ---


def test_it_is_small(installed: Installed) -> None:
    """No extra comes by itself, nor what only extras bring; all of it takes less than 70 MB, without pip."""
    text = "import importlib.metadata as m; print(*sorted({d.name.lower() for d in m.distributions()}))"
    names = installed.run("-c", text).split()
    print(len(names), *names)
    assert not {"alembic", "numpy", "pandas", "psycopg", "pyarrow", "ray", "scipy", "torch", "vllm"} & set(names)
    files = [path.stat().st_size for path in installed.python.parents[1].rglob("*") if not path.is_symlink()]
    assert sum(files) < 70 * 2**20


SERVED = """
import json, maker
from maker.testing import FaultyServer
with open("rows.jsonl", "w") as file:
    file.writelines(json.dumps({"id": str(n), "text": f"a{n % 2}"}) + "\\n" for n in range(40))
job = {
    "task": {"decomposer": "map", "input": "rows.jsonl", "output": "out", "template": "Is {{text}} odd?"},
    "vote": {"k": 2},
}
with FaultyServer(lambda prompt, seed: "yes" if "a1" in prompt else "no", rate=0.0) as server:
    report = maker.run(job, model=maker.openai(url=server.url, name="m"))
    assert server.served.calls == report.calls >= 80
assert maker.verify(report.run_id).right
print(report.status, json.dumps([row.answer for row in maker.results(report.run_id)]))
"""


def test_a_map_over_http(installed: Installed) -> None:
    """Rows are asked of a server, voted on and written; the log verifies."""
    (installed.folder / "served.py").write_text(SERVED)
    status, _, answers = installed.run("served.py").partition(" ")
    assert status == "done"
    assert [next(iter(answer.values())) for answer in json.loads(answers)] == ["no", "yes"] * 20


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (("report", "last"), "numpy", "plan"),
        (("calibrate", "job.toml"), "numpy", "plan"),
        (("plan", "job.toml"), "numpy", "plan"),
        (("run", "job.toml", "vote.k=auto"), "numpy", "plan"),
        (("run", "job.toml", "model.rho=0.1"), "scipy", "plan"),
        (("run", "job.toml", "swarm.kind=ray"), "ray", "ray"),
        (("ls", "--store", "postgresql://u@127.0.0.1/x"), "psycopg", "postgres"),
        (("export", "last", "--out", "a.parquet"), "pyarrow", "parquet"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(
    installed: Installed, words: tuple[str, ...], package: str, extra: str
) -> None:
    """Exit 2, the package, and the command that brings it; a run that needs it can be resumed then."""
    (installed.folder / "job.toml").write_text(JOB)
    installed.script("run", "job.toml")
    printed = installed.script(*words, code=2)
    assert f"needs the package {package}, which is not installed" in printed
    assert f"pip install 'maker-executor[{extra}]'" in printed


def test_every_public_name_is_there(installed: Installed) -> None:
    """`from maker import *` needs no extra."""
    assert installed.run("-c", "from maker import *; print(plan.__name__)") == "plan\n"


def test_doctor_is_content(installed: Installed) -> None:
    """What an extra brings is missing, not broken, and the fix names it."""
    found = {one["what"]: one for one in map(json.loads, installed.script("doctor", "--json").splitlines())}
    assert {name for name, one in found.items() if one["state"] == "missing"} == {
        "ray", "scipy", "psycopg", "pyarrow", "zstandard", "opentelemetry-sdk", "vllm",
    }  # fmt: skip
    assert found["scipy"]["fix"] == "pip install 'maker-executor[plan]'"
    assert not [one for one in found.values() if one["state"] == "broken"]


# --- with extras ---


def test_a_report_with_its_extra(with_extras: Installed) -> None:
    """The extra `plan` is all that a report and a plan need."""
    (with_extras.folder / "job.toml").write_text(JOB)
    with_extras.script("run", "job.toml")
    assert "page.html" in with_extras.script("report", "last", "--out", "page.html")
    with_extras.script("calibrate", "job.toml")
    assert "plan from calibration" in with_extras.script("plan", "job.toml")


def test_a_run_under_ray(with_extras: Installed) -> None:
    """Ray's workers find all three packages."""
    (with_extras.folder / "job.toml").write_text(JOB)
    assert "is done" in with_extras.script("run", "job.toml", "swarm.kind=ray")
    with_extras.script("verify", "last")


@pytest.mark.parametrize("package", ["voters", "decomposers"])
def test_a_folder_that_shadows_a_package_is_told(installed: Installed, package: str) -> None:
    """A folder beside a script that takes the place of a package of ours: the error says which file won."""
    stray = installed.folder / package
    stray.mkdir()
    (stray / "__init__.py").write_text("")
    (installed.folder / "job.toml").write_text(JOB)
    (installed.folder / "script.py").write_text("import maker.cli\nmaker.cli.main()\n")
    printed = installed.run("script.py", "run", "job.toml", code=2)
    assert str(stray / "__init__.py") in printed
    assert "rename the file that hides it" in printed
    assert not (installed.folder / "maker.db").exists()


def test_a_folder_without_init_does_not_shadow(installed: Installed) -> None:
    """A folder that is no package does not take our package's place."""
    (installed.folder / "voters").mkdir()
    (installed.folder / "job.toml").write_text(JOB)
    (installed.folder / "script.py").write_text("import maker.cli\nmaker.cli.main()\n")
    assert "is done" in installed.run("script.py", "run", "job.toml")

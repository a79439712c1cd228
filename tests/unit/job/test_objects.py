"""Python objects stand where a job names something: what is stored is what a job file would have led to."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ValidationError

import maker
from decomposers.document import document
from decomposers.function import Done, ask, task
from decomposers.hanoi import Hanoi, HanoiParams, hanoi
from decomposers.map import Map, MapParams, map_rows
from decomposers.recursive import recursive
from maker.core.plugins import DECOMPOSERS, VOTERS, Plugin, list_plugins
from maker.errors import JobError, PluginError
from maker.job.fingerprint import settings_fingerprint
from maker.job.load import load_job
from maker.models.settings import SimulatedSettings, VllmSettings
from maker.plugin import Truth, made_of
from tests.unit.workflow_tasks import ticket
from voters.bayes import Bayes, BayesParams, bayes
from voters.majority import Majority

HERE = Path(__file__).resolve()
MODEL = {"kind": "simulated", "p": 0.9}
TASK = {"decomposer": "hanoi", "disks": 4}


class Label(BaseModel):
    """What a row is."""

    label: Literal["good", "bad"]


SCHEMA = Label.model_json_schema()


def plausible(row: Any, answer: Any) -> str | None:
    """Allow all."""


def truth(prompt: str) -> Truth:
    """Say what is right."""
    return Truth(['{"label": "good"}'], ['{"label": "bad"}'])


@task(state=int, action=int)
def countdown(state: int) -> Any:
    """Count down."""
    return Done("lift-off") if state == 0 else ask(f"{state} - 1?")


@countdown.start
def _(number: int = 10) -> int:
    return number


class OwnVoter(Majority):
    """A voter of this file."""

    name = "own"


def named(task: Any, **tables: Any) -> dict[str, Any]:
    """Return a job by names."""
    return {"task": task, "model": MODEL, **tables}


MAPPED = {
    "decomposer": "map", "input": "rows.csv", "template": "Is {{text}} good?\n", "schema": SCHEMA,
    "check": f"{HERE}:plausible", "truth": f"{HERE}:truth",
}  # fmt: skip
GIVEN: dict[str, Any] = {
    "input": "rows.csv", "template": "Is {{text}} good?\n", "schema": Label, "check": plausible, "truth": truth,
}  # fmt: skip
TICKET = {"decomposer": "tests.unit.workflow_tasks:ticket", "text": "the printer"}


@pytest.mark.parametrize(
    ("objects", "names"),
    [
        (hanoi(disks=4), TASK),
        (Hanoi(HanoiParams(disks=4)), TASK),
        ({"decomposer": Hanoi, "disks": 4}, TASK),
        ({"decomposer": hanoi(disks=4)}, TASK),
        ({"decomposer": hanoi(disks=4), "disks": 5}, TASK | {"disks": 5}),
        (hanoi(disks=4, form="tree"), TASK | {"form": "tree"}),
        (ticket("the printer"), TICKET),
        (ticket(third="ab", text="the printer"), TICKET | {"third": "ab"}),
        (ticket(ticket.Params(text="the printer")), TICKET),  # type: ignore[call-arg, arg-type]
        ({"decomposer": ticket, "text": "the printer"}, TICKET),
        (map_rows(**GIVEN), MAPPED),
        (Map(MapParams(**GIVEN)), MAPPED),
        ({"decomposer": Map, **GIVEN}, MAPPED),
        ({"decomposer": "map", **GIVEN}, MAPPED),
        (recursive(problem="2 + 3\n"), {"decomposer": "recursive", "problem": "2 + 3\n"}),
        (
            document(input="b.txt", question="Which?\n", want="extract", schema=Label, truth=truth),
            {
                "decomposer": "document",
                "input": "b.txt",
                "question": "Which?\n",
                "want": "extract",
                "schema": SCHEMA,
                "truth": f"{HERE}:truth",
            },
        ),
        (countdown, {"decomposer": f"{HERE}:countdown"}),
        (countdown(number=3), {"decomposer": f"{HERE}:countdown", "number": 3}),
    ],
)
def test_a_task_is_what_its_name_is(objects: Any, names: dict[str, Any]) -> None:
    """Settings and fingerprint are those of the job that names it, whether it is given by itself or in a mapping."""
    expected = load_job(named(names))
    made = [load_job(named(objects))]
    if not isinstance(objects, dict):
        made.append(load_job(objects, model=maker.simulated(p=0.9)))
    for job in made:
        assert job.settings == expected.settings
        assert settings_fingerprint(job) == settings_fingerprint(expected)


@pytest.mark.parametrize(
    ("voter", "names"),
    [
        (Majority, {"voter": "majority"}),
        (bayes(error=0.02), {"voter": "bayes", "error": 0.02}),
        (Bayes(BayesParams(error=0.02)), {"voter": "bayes", "error": 0.02}),
        (OwnVoter, {"voter": f"{HERE}:OwnVoter"}),
        ("majority", {"voter": "majority"}),
    ],
)
def test_a_voter_is_what_its_name_is(voter: Any, names: dict[str, Any]) -> None:
    """By a keyword or in the mapping, its parameters with it."""
    expected = load_job(named(TASK, vote=names))
    for job in (
        load_job(named(TASK, vote={"voter": voter})),
        load_job(hanoi(disks=4), model=maker.simulated(p=0.9), voter=voter),
        load_job(named(TASK, vote={"voter": "sprt", "p": 0.7}), voter=voter),
    ):
        assert job.settings == expected.settings
        assert settings_fingerprint(job) == settings_fingerprint(expected)


def test_what_is_named_is_used_as_it_is() -> None:
    """The file is not loaded a second time: the class is the class."""
    job = load_job(map_rows(**GIVEN), voter=OwnVoter, model=maker.simulated())
    assert isinstance(job.voter, OwnVoter)
    assert {name: one.call for name, one in job.functions.items()} == {"check": plausible, "truth": truth}
    assert job.decomposer.oracle()("any") == truth("any")  # type: ignore[misc]


def test_models_are_their_tables() -> None:
    """A pool's members too, with the defaults left out."""
    small, large = maker.simulated(p=0.8), maker.openai(url="http://h/v1", name="large", temperature=0.5)
    both = maker.pool({"small": small, "large": large}, rotation=["small"])
    table = {
        "kind": "pool", "rotation": ["small"],
        "members": {
            "small": {"kind": "simulated", "p": 0.8},
            "large": {"kind": "openai", "url": "http://h/v1", "name": "large", "temperature": 0.5},
        },
    }  # fmt: skip
    expected = load_job({"task": TASK, "model": table}).settings
    assert load_job(hanoi(disks=4), model=both).settings == expected
    assert load_job({"task": TASK, "model": both}).settings == expected
    plain = load_job(named(TASK) | {"model": {"kind": "simulated"}})
    assert load_job(hanoi(disks=4), model=maker.simulated()).settings == plain.settings


def test_a_vllm_model_takes_what_its_table_takes() -> None:
    """With the same defaults; its path comes first."""
    path, *others = inspect.signature(maker.vllm).parameters.values()
    assert path.name == "path"
    fields = {name: field for name, field in VllmSettings.model_fields.items() if name not in ("kind", "path")}
    defaults = {name: field.default for name, field in fields.items()} | {"engine_args": None}
    assert {one.name: one.default for one in others} == defaults
    assert maker.vllm(Path("models/qwen")) == VllmSettings(path="models/qwen")


def test_keywords_are_settings(tmp_path: Path) -> None:
    """Each comes to its table."""
    job = load_job(
        hanoi(disks=4), model=maker.simulated(p=0.9), k=4, max_votes=50, extra=1, name="mine", seed=7,
        store=f"sqlite:///{tmp_path}/m.db", durability="strict", samples="all", memo="run",
        limits=maker.Limits(max_calls=99), monitor=maker.Monitor(policy="pause"), swarm=maker.Swarm(chains=8),
    )  # fmt: skip
    written = load_job({
        "task": TASK | {"memo": "run"}, "model": MODEL, "vote": {"k": 4, "max_votes": 50, "extra": 1},
        "run": {"name": "mine", "seed": 7}, "limits": {"max_calls": 99}, "monitor": {"policy": "pause"},
        "store": {"url": f"sqlite:///{tmp_path}/m.db", "durability": "strict", "samples": "all"},
        "swarm": {"chains": 8},
    })  # fmt: skip
    assert (job.settings, job.store) == (written.settings, written.store)
    assert job.origins["vote.k"] == job.origins["model.p"] == job.origins["limits.max_calls"] == "the call"
    assert job.origins["task.disks"] == "the job"


def test_keywords_win_over_a_file_and_words_over_keywords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment stands between file and keywords; a keyword for a table leaves nothing of it."""
    path = tmp_path / "job.toml"
    path.write_text(
        '[task]\ndecomposer = "hanoi"\ndisks = 4\n[model]\nkind = "simulated"\np = 0.8\nrivals = 3\n'
        "[vote]\nk = 2\nmax_votes = 40\n[limits]\nmax_calls = 7\n"
    )
    monkeypatch.setenv("MAKER_VOTE_K", "3")
    job = load_job(path, ["vote.max_votes=60"], model=maker.simulated(p=0.9), k=4, max_votes=50)
    assert (job.model, job.settings["vote"]["k"], job.vote.max_votes) == (SimulatedSettings(p=0.9), 4, 60)
    assert load_job(path).model == SimulatedSettings(p=0.8, rivals=3)
    assert load_job(path, limits=maker.Limits(max_tokens=5)).limits.max_calls is None


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"modle": 3}, "there is no keyword 'modle'"),
        ({"model": "simulated"}, "model = 'simulated' is no table"),
        ({"model": maker.simulated(), "k": 0}, r"the call: vote\.k = 0"),
        ({"model": maker.simulated(), "max_votes": 2}, r"the call"),
        ({}, r"the job: model\.kind is missing"),
    ],
)
def test_a_wrong_keyword_is_told(keywords: dict[str, Any], message: str) -> None:
    """By its name, with what there is."""
    with pytest.raises(JobError, match=message):
        load_job(hanoi(disks=4), **keywords)


def test_a_loaded_job_takes_no_keyword() -> None:
    """It is checked already."""
    job = load_job(hanoi(disks=4), model=maker.simulated())
    with pytest.raises(JobError, match="'k' comes too late"):
        load_job(job, k=3)


def test_what_has_no_name_is_refused_with_the_setting() -> None:
    """A lambda cannot be found again."""
    with pytest.raises(PluginError, match=r"task\.check: .*it is local to a function") as caught:
        load_job(map_rows(**GIVEN | {"check": lambda row, answer: None}), model=maker.simulated())
    assert "top level" in caught.value.fix

    class Local(Hanoi):
        """A class of a function."""

    for given in (Local, Local(HanoiParams(disks=3))):
        with pytest.raises(PluginError, match=r"Local cannot be found again by a name"):
            load_job(given, model=maker.simulated())


def test_an_instance_without_parameters_is_refused() -> None:
    """It does not know what to store."""
    with pytest.raises(PluginError, match="this Hanoi does not know its parameters"):
        load_job(copy.copy(hanoi(disks=3)), model=maker.simulated())


def test_workers_are_not_sent_the_parameters_twice() -> None:
    """What an instance is made of stays where it was made."""
    made = hanoi(disks=3)
    assert made_of(made) == (Hanoi, HanoiParams(disks=3))
    assert made_of(copy.deepcopy(made)) is None
    assert copy.deepcopy(made).params == HanoiParams(disks=3)


@pytest.mark.parametrize("group", [DECOMPOSERS, VOTERS])
def test_every_plugin_has_a_form_with_keywords(group: str) -> None:
    """It stands beside the class, under the plugin's name, and takes what its Params take."""
    for plugin in list_plugins(group):
        assert isinstance(plugin, Plugin)
        home = import_module(f"{group.removeprefix('maker.')}.{plugin.name.replace('-', '_')}")
        make: Callable[..., Any] = getattr(home, {"map": "map_rows"}.get(plugin.name, plugin.name.replace("-", "_")))
        assert inspect.signature(make) == inspect.signature(plugin.object.Params)
        assert make.__doc__ == plugin.object.Params.__doc__


def test_wrong_arguments_are_told_where_they_are_given() -> None:
    """By Python, or by pydantic."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'copies'"):
        ticket("the printer", copies=2)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="text"):
        ticket(3)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="disks"):
        hanoi(disks=0)


def test_a_password_in_a_url_is_not_in_the_error() -> None:
    """Pydantic would show it."""
    with pytest.raises(ValidationError) as caught:
        maker.openai(url="http://user:hunter2@h/v1", name="m")
    assert "hunter2" not in str(caught.value)


def test_a_model_as_an_argument_is_a_value() -> None:
    """Only a model's class is a schema."""
    job = load_job({"task": {"decomposer": labelled, "label": Label(label="good")}, "model": MODEL})
    assert job.settings["task"]["label"] == {"label": "good"}
    assert job.settings == load_job(labelled(Label(label="good")), model=maker.simulated(p=0.9)).settings


@maker.workflow
async def labelled(run: maker.Run, label: Label) -> str:
    """Ask by a model."""
    return await run.ask(f"Why is it {label.label}?", truth="so")

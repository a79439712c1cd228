"""Every deliberate error of maker.

MakerError                  something the user can act on; exit code 1
├── BadInput                the request cannot be carried out as given; exit code 2, nothing is lost
│   ├── JobError            a job file, an override or a parameter is wrong
│   ├── PluginError         a decomposer or voter is unknown, ambiguous or broken
│   ├── StoreUnusable       the database cannot be opened, is read-only, or has another schema
│   │   └── StoreMissing    there is no database
│   ├── RunNotFound         there is no run with that id
│   ├── RunNotResumable     the run is over, or its task has changed since it was started
│   │   └── RunDamaged      what a resume would re-apply is not as it was committed
│   ├── RunHeld             another process works on the run
│   ├── RunIdTaken          another job was started under the given run id
│   ├── ExtraMissing        a package is missing that an extra of the installation brings
│   ├── RunNeeded           another run shares the run's steps or reuses its decisions
│   └── ModelUnusable       the model cannot be used as configured: no folder, no server, no permission
├── ModelFailed             a model that worked stopped answering
│   └── RowUnanswered       one row of many gets no reply; the others show whose fault that is
├── PromptRefused           a model refuses one prompt; it answers others
├── OutOfReach              the target cannot be reached with this model, or that cannot be shown
├── PilotPaused             the pilot that a run needs first is paused
├── StoreFailed             a database that worked stopped accepting writes
├── LeaseLost               another process has taken over the run; this one has stopped writing
├── WorkerLost              a worker's process died
├── OutputFailed            standard output accepts no more
└── TaskFailed              a decomposer's own code raised, or broke its contract
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

DISTRIBUTION = "maker-executor"


class ContractBroken(Exception):
    """The task's code returned what its interface does not allow; ``fix`` says what is allowed."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class MakerError(Exception):
    """Base of all deliberate errors.

    Args:
        message: What happened, where, with numbers.
        fix: What the user can do now; shown under the message.
        **facts: The same facts as values, for programs; they survive pickling, because Ray carries errors.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.facts = facts

    def __str__(self) -> str:
        return f"{self.message}\n{self.fix}" if self.fix else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.fix, self.facts)


def _rebuild(cls: type[MakerError], message: str, fix: str, facts: dict[str, Any]) -> MakerError:
    return cls(message, fix=fix, **facts)


class BadInput(MakerError):
    """The request cannot be carried out as given; nothing is lost."""

    exit_code = 2


class JobError(BadInput):
    """A job file, an override or a parameter is wrong."""


class PluginError(BadInput):
    """A decomposer or voter is unknown, ambiguous or broken."""


class StoreUnusable(BadInput):
    """The database cannot be opened, is read-only, or has another schema."""


class StoreMissing(StoreUnusable):
    """There is no database to read."""


class RunNotFound(BadInput):
    """The store has no run with that id."""


class RunNotResumable(BadInput):
    """The run is over, or its task has changed since it was started."""


class RunDamaged(RunNotResumable):
    """What the store holds of the run is not as it was committed."""


class RunHeld(BadInput):
    """Another process works on the run."""


class RunIdTaken(BadInput):
    """Another job was started under the given run id."""


class RunNeeded(BadInput):
    """Another run shares the run's steps, or reuses its decisions."""


class ExtraMissing(BadInput):
    """A package is missing, or cannot be imported, that an extra of the installation brings."""


class ModelUnusable(BadInput):
    """The model cannot be used as configured."""


class ModelFailed(MakerError):
    """A model that worked stopped answering."""


class RowUnanswered(ModelFailed):
    """One row of many gets no reply: its own fault if the model answers others, else the model's."""


class PromptRefused(MakerError):
    """A model refuses one prompt; it answers others."""


class OutOfReach(MakerError):
    """The target cannot be reached with this model, or that cannot be shown."""


class PilotPaused(MakerError):
    """The pilot that a run needs first is paused; starting the run again continues the pilot."""


class StoreFailed(MakerError):
    """A database that worked stopped accepting writes."""

    since_s: float | None = None
    """When what keeps the database from answering began, by ``time.monotonic``; None if waiting would not help."""


class LeaseLost(MakerError):
    """Another process has taken over the run; this one has stopped writing."""


class WorkerLost(MakerError):
    """A worker's process died."""


class OutputFailed(MakerError):
    """Standard output accepts no more."""


class TaskFailed(MakerError):
    """A decomposer's own code raised, or broke its contract."""


OWN_FAULT = TaskFailed | PromptRefused
"""Errors of a single chain: the other chains continue. Any other error ends the run, for every chain would meet it."""


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Import in the block what an extra brings, for ``what``: "the store …", say.

    Raises:
        ExtraMissing: It cannot be imported; the message names the package, the fix the extra.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and package
        why = f"the package {package}, which is not installed" if missing else f"the extra {name}: {error}"
        raise ExtraMissing(
            f"{what} needs {why}".splitlines()[0], fix=f"pip install '{DISTRIBUTION}[{name}]'", extra=name
        ) from error

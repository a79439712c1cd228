"""Every deliberate error of maker.

MakerError                  something the user can act on; exit code 1
├── BadInput                what was asked cannot be done as asked; exit code 2, nothing is lost
│   ├── JobError            a job file, an override or a parameter is wrong
│   ├── PluginError         a decomposer or voter is unknown, ambiguous or broken
│   ├── StoreUnusable       the database is no database, read-only, or of another schema
│   │   └── StoreMissing    there is no database
│   ├── RunNotFound         no run of that id
│   ├── RunNotResumable     the run is over, or its task is no longer the one it was started with
│   ├── RunHeld             another process works on the run
│   ├── RunNeeded           another run goes on from the run's steps
│   └── ModelUnusable       the model cannot be used as configured: no folder, no server, no right
├── ModelFailed             a model that worked stopped answering
├── PromptRefused           a model refuses one prompt; it answers others
├── OutOfReach              what is aimed at cannot be reached with this model, or not be shown
├── PilotPaused             the pilot that a run needs before it is paused
├── StoreFailed             a database that worked stopped taking writes
├── LeaseLost               another process has taken the run over; this one has stopped writing
├── WorkerLost              a worker's process died
├── TaskFailed              a decomposer's own code raised, or broke its contract
└── NotYet                  part of the design that this version does not run
"""

from __future__ import annotations

from typing import Any


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
    """What was asked cannot be done as asked; nothing is lost."""

    exit_code = 2


class JobError(BadInput):
    """A job file, an override or a parameter is wrong."""


class PluginError(BadInput):
    """A decomposer or voter is unknown, ambiguous or broken."""


class StoreUnusable(BadInput):
    """The database is no database, is read-only, or has another schema."""


class StoreMissing(StoreUnusable):
    """There is no database where one was to be read."""


class RunNotFound(BadInput):
    """No run of that id is in the store."""


class RunNotResumable(BadInput):
    """The run is over, or its task is no longer the one that it was started with."""


class RunHeld(BadInput):
    """Another process works on the run."""


class RunNeeded(BadInput):
    """Another run goes on from the run's steps."""


class ModelUnusable(BadInput):
    """The model cannot be used as configured."""


class ModelFailed(MakerError):
    """A model that worked stopped answering."""


class PromptRefused(MakerError):
    """A model refuses one prompt; it answers others."""


class OutOfReach(MakerError):
    """What is aimed at cannot be reached with this model, or cannot be shown."""


class PilotPaused(MakerError):
    """The pilot that a run needs before is paused; started again, the run goes on with it."""


class StoreFailed(MakerError):
    """A database that worked stopped taking writes."""


class LeaseLost(MakerError):
    """Another process has taken the run over; this one has stopped writing."""


class WorkerLost(MakerError):
    """A worker's process died."""


class TaskFailed(MakerError):
    """A decomposer's own code raised, or broke its contract."""


class NotYet(MakerError):
    """Part of the design that this version does not run."""


OWN_FAULT = TaskFailed | PromptRefused
"""What one chain alone has met: others go on. Any other error ends the run, for every chain would meet it."""

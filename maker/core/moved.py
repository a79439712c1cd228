"""Keep old module paths importable: each import of one warns once, and names the new path."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "decomposers.connect_graph": "decomposers.connect.graph",
    "decomposers.connect_lessons": "decomposers.connect.examples",
    "decomposers.connect_oracle": "decomposers.connect.oracle",
    "decomposers.connect_prompts": "decomposers.connect.prompts",
    "decomposers.connect_rules": "decomposers.connect.rules",
    "decomposers.context": "decomposers.recursive.context",
    "decomposers.document_prompts": "decomposers.document.prompts",
    "decomposers.document_state": "decomposers.document.state",
    "decomposers.document_text": "decomposers.document.text",
    "decomposers.hanoi_lessons": "decomposers.hanoi.examples",
    "decomposers.hanoi_oracle": "decomposers.hanoi.oracle",
    "decomposers.hanoi_prompts": "decomposers.hanoi.prompts",
    "decomposers.hanoi_rules": "decomposers.hanoi.rules",
    "decomposers.hanoi_tree": "decomposers.hanoi.tree",
    "decomposers.map_answer": "decomposers.map.answer",
    "decomposers.map_json": "decomposers.common.strict_json",
    "decomposers.map_root": "decomposers.map.root",
    "decomposers.map_rules": "decomposers.map.fields",
    "decomposers.map_schema": "decomposers.common.schema",
    "decomposers.map_template": "maker.inputs.template",
    "decomposers.multiply_oracle": "decomposers.multiply.oracle",
    "decomposers.multiply_prompts": "decomposers.multiply.prompts",
    "decomposers.multiply_rules": "decomposers.multiply.rules",
    "decomposers.recursive_params": "decomposers.recursive.params",
    "decomposers.recursive_plan": "decomposers.recursive.plan",
    "decomposers.recursive_prompts": "decomposers.recursive.prompts",
    "decomposers.recursive_state": "decomposers.recursive.state",
    "decomposers.right_way": "decomposers.common.right_way",
    "decomposers.sort_lessons": "decomposers.sort.examples",
    "decomposers.sort_oracle": "decomposers.sort.oracle",
    "decomposers.sort_prompts": "decomposers.sort.prompts",
    "decomposers.sort_rules": "decomposers.sort.rules",
    "maker.asked": "maker.stats.posterior",
    "maker.asking": "maker.stats.expected_requests",
    "maker.atomic": "maker.core.atomic",
    "maker.audit": "maker.reporting.audit",
    "maker.bounds": "maker.stats.bounds",
    "maker.calibrating": "maker.calibration.calibrate",
    "maker.chain": "maker.voting.chain",
    "maker.checking": "maker.job.validate",
    "maker.difficulty": "maker.stats.difficulty",
    "maker.dispersion": "maker.stats.dispersion",
    "maker.drawing": "maker.sampling.draw",
    "maker.election": "maker.voting.election",
    "maker.engine.alongside": "maker.verification.snapshots",
    "maker.engine.citing": "maker.verification.provenance",
    "maker.engine.evidence": "maker.verification.samples",
    "maker.engine.forest": "maker.engine.scheduler",
    "maker.engine.joining": "maker.engine.join",
    "maker.engine.remembering": "maker.engine.memo_feed",
    "maker.engine.reopening": "maker.engine.restore_forks",
    "maker.engine.standing": "maker.engine.recovery",
    "maker.engine.verify": "maker.verification.verifier",
    "maker.engine.walking": "maker.verification.replay",
    "maker.events": "maker.lifecycle.events",
    "maker.export": "maker.lifecycle.export",
    "maker.foreseeing": "maker.sampling.precompute",
    "maker.foundry": "maker.training",
    "maker.foundry.alphabet": "maker.training.alphabet",
    "maker.foundry.building": "maker.training.building",
    "maker.foundry.card": "maker.training.card",
    "maker.foundry.course": "maker.training.dataset",
    "maker.foundry.examining": "maker.training.examine",
    "maker.foundry.figures": "maker.training.figures",
    "maker.foundry.making": "maker.training.make",
    "maker.foundry.reading_off": "maker.training.exact_evaluation",
    "maker.foundry.recipe": "maker.training.recipe",
    "maker.foundry.training": "maker.training.train",
    "maker.foundry.transcript": "maker.training.sft_file",
    "maker.hearing": "maker.voting.collector",
    "maker.inputs.codec": "maker.inputs.encoding",
    "maker.inputs.columnar": "maker.inputs.formats.parquet",
    "maker.inputs.delimited": "maker.inputs.formats.delimited",
    "maker.inputs.door": "maker.inputs.formats.interface",
    "maker.inputs.gathering": "maker.inputs.scan",
    "maker.inputs.jsonlines": "maker.inputs.formats.jsonlines",
    "maker.inputs.lines": "maker.inputs.formats.lines",
    "maker.inputs.records": "maker.inputs.formats.records",
    "maker.inputs.slices": "maker.inputs.formats.slices",
    "maker.inputs.texts": "maker.inputs.formats.texts",
    "maker.jobfile": "maker.job.file",
    "maker.judging": "maker.voting.judge",
    "maker.knapsack": "maker.stats.knapsack",
    "maker.labels": "maker.reporting.labels",
    "maker.loads": "maker.stats.risk",
    "maker.logs": "maker.core.logs",
    "maker.margins": "maker.stats.margins",
    "maker.memo": "maker.voting.memo",
    "maker.models.door": "maker.models.interface",
    "maker.models.openai": "maker.models.server.openai",
    "maker.models.openai_http": "maker.models.server.openai_http",
    "maker.models.openai_wire": "maker.models.dialects.openai_wire",
    "maker.models.pacing": "maker.models.server.pacing",
    "maker.monitor": "maker.stats.monitor",
    "maker.output": "maker.lifecycle.row_files",
    "maker.owned": "maker.core.user_code",
    "maker.parameters": "maker.job.parameters",
    "maker.paths": "maker.voting.paths",
    "maker.piloting": "maker.calibration.map_pilot",
    "maker.planning": "maker.stats.race",
    "maker.plans": "maker.calibration.plan",
    "maker.polling": "maker.sampling.pilot",
    "maker.precomputing": "maker.calibration.precompute",
    "maker.prospects": "maker.calibration.forecast",
    "maker.reading": "maker.lifecycle.queries",
    "maker.recount": "maker.voting.vote_replay",
    "maker.redflags": "maker.voting.red_flags",
    "maker.registry": "maker.core.plugins",
    "maker.reporting.claiming": "maker.reporting.claims",
    "maker.reporting.fitting": "maker.reporting.fit",
    "maker.reporting.gathering": "maker.reporting.counts",
    "maker.reporting.ruling": "maker.reporting.decision_rules",
    "maker.rescoring": "maker.reporting.rescore",
    "maker.resolving": "maker.job.resolve",
    "maker.results": "maker.lifecycle.rows",
    "maker.round": "maker.voting.in_flight",
    "maker.rules": "maker.voting.policy",
    "maker.seeds": "maker.voting.seeds",
    "maker.service": "maker.api.aio",
    "maker.settings": "maker.job.settings",
    "maker.sft": "maker.lifecycle.sft",
    "maker.spread": "maker.stats.mixture",
    "maker.store.accounts": "maker.store.ledger",
    "maker.store.database": "maker.store.backend.database",
    "maker.store.heard": "maker.store.step_votes",
    "maker.store.places": "maker.store.locations",
    "maker.store.postgres": "maker.store.backend.postgres",
    "maker.store.prepared": "maker.store.backend.prepared",
    "maker.store.removing": "maker.store.remove",
    "maker.store.schema": "maker.store.backend.schema",
    "maker.store.sqlite": "maker.store.backend.sqlite",
    "maker.store.texts": "maker.store.backend.texts",
    "maker.store.watch": "maker.store.vote_monitor",
    "maker.swarm.door": "maker.swarm.interface",
    "maker.tally": "maker.voting.tally",
    "maker.testing_voters": "maker.testing.voters",
    "maker.tracing": "maker.lifecycle.tracing",
    "maker.undecided": "maker.stats.truncation",
    "maker.upkeep": "maker.lifecycle.admin",
    "maker.working": "maker.lifecycle.session",
    "maker.worklog": "maker.lifecycle.worker_log",
}
"""Module paths of version 0.1, and where each module is now. File plugins and pickles may still name the old ones."""


CALLED = {"maker.results": "results"}
"""Old paths of modules that name functions now: the import system puts the module in the function's place."""


class _Called(ModuleType):
    """A module that was imported by the path of a function: calling it calls the function of that name in it."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return vars(self)[vars(self)["__called__"]](*args, **options)


# Without the base classes of importlib.abc, which take half the time of `import maker`.
class _MovedModules:
    """Finds a module under its old path: it is the same module object as under the new one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MOVED:
            return None
        warn_of(fullname, MOVED[fullname])
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(MOVED[spec.name])
        # The import system is about to overwrite the module's spec with the old path's; `exec_module` restores it.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None and spec.name in MOVED:
            module.__spec__ = spec.loader_state
            if spec.name in CALLED:
                vars(module)["__called__"] = CALLED[spec.name]
                module.__class__ = _Called


def install() -> None:
    """Make old module paths importable. Calling it again does nothing."""
    if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
        # At the end, so that an existing module always wins.
        sys.meta_path.append(_MovedModules())


def moved_names(package: str, *homes: str) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a package that once was a module: it finds the old names, and warns.

    Args:
        package: The package, at the path of the old module.
        homes: The modules that have the names now.
    """

    def find(name: str) -> Any:
        for home in () if name.startswith("__") else homes:
            module = importlib.import_module(home)
            if hasattr(module, name):
                warn_of(f"{package}.{name}", f"{home}.{name}")
                return getattr(module, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


def warn_of(old: str, new: str) -> None:
    """Warn the importing code of an old path, naming the new one."""
    # A FutureWarning: Python hides a DeprecationWarning that comes from a plugin's imports.
    warnings.warn(f"{old} has moved: import {new} instead", FutureWarning, stacklevel=3)

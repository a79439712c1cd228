"""A model that is spread over several GPUs: what its worker reserves, and what its engine is told."""

from __future__ import annotations

from typing import Any

import pytest

from maker import api
from maker.errors import JobError, ModelUnusable
from maker.job.settings import SwarmSettings, worker_gpus
from maker.models.settings import VllmSettings
from maker.models.vllm_start import Vllm, hardware_arguments

GPU = Vllm(None, None, None, None, None, (), None, on_cpu=False)


@pytest.mark.parametrize(
    ("spread", "gpus", "reserved"), [(1, None, None), (1, 0.5, 0.5), (2, None, 2.0), (2, 3.0, 3.0), (4, None, 4.0)]
)
def test_a_worker_reserves_what_its_model_is_spread_over(
    spread: int, gpus: float | None, reserved: float | None
) -> None:
    model = VllmSettings(path="m", tensor_parallel=spread)
    assert worker_gpus([model], SwarmSettings(gpus=gpus)) == reserved


def test_fewer_gpus_than_the_model_takes_are_refused() -> None:
    job: dict[str, Any] = {
        "task": {"decomposer": "hanoi", "disks": 3},
        "model": {"kind": "vllm", "path": "m", "tensor_parallel": 4},
        "swarm": {"gpus": 2},
    }
    with pytest.raises(JobError, match=r"swarm\.gpus = 2, but model\.tensor_parallel = 4 needs 4"):
        api.load_job(job)
    assert api.load_job(job, ["swarm.gpus=4"]).swarm.gpus == 4


def test_the_engine_stays_on_its_workers_gpus() -> None:
    """Its processes are its own children: Ray is not asked for GPUs once more."""
    model = VllmSettings(path="m", tensor_parallel=2)
    assert hardware_arguments(GPU, model) == {"tensor_parallel_size": 2, "distributed_executor_backend": "mp"}
    assert hardware_arguments(GPU, VllmSettings(path="m")) == {}
    with pytest.raises(ModelUnusable, match=r"model\.tensor_parallel = 2 needs as many GPUs"):
        hardware_arguments(GPU._replace(on_cpu=True), model)

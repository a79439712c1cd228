"""Open the model that a job's settings describe."""

from __future__ import annotations

from collections.abc import Mapping

from maker.models.batch.records import BatchRecords
from maker.models.interface import Model
from maker.models.pool import Member, Pool
from maker.models.server_settings import ServerSettings
from maker.models.settings import MemberSettings, PoolSettings, SimulatedSettings, VllmSettings
from maker.types import Oracle


def open_model(settings: MemberSettings | PoolSettings, oracle: Oracle | None) -> Model:
    """Open the model that the settings describe. Raises `ModelUnusable`; may take half a minute."""
    if isinstance(settings, PoolSettings):
        return _open_pool(settings.members, oracle)
    if isinstance(settings, SimulatedSettings):
        from maker.models.simulated import SimulatedModel

        return SimulatedModel(settings, oracle)
    if isinstance(settings, VllmSettings):
        from maker.models.vllm import VllmModel

        return VllmModel([settings])
    from maker.models.server.openai import OpenAIModel

    return OpenAIModel(settings)


def open_batch_model(settings: ServerSettings, records: BatchRecords, *, run_id: str, stays_s: float | None) -> Model:
    """Open the model of a run that asks in batches, see `BatchModel`. Raises `ModelUnusable`."""
    from maker.models.batch.model import BatchModel
    from maker.models.batch.providers import provider_of

    return BatchModel(settings, provider_of(settings), records, run_id=run_id, stays_s=stays_s)


def _open_pool(members: Mapping[str, MemberSettings], oracle: Oracle | None) -> Model:
    """Open each member; those that one engine can answer for share it."""
    engines: dict[str, list[VllmSettings]] = {}
    places: list[tuple[str, int]] = []
    for name, settings in members.items():
        key = f"vllm {settings.engine()}" if isinstance(settings, VllmSettings) else f"member {name}"
        variants = engines.setdefault(key, [])
        places.append((key, len(variants)))
        if isinstance(settings, VllmSettings):
            variants.append(settings)
    opened: dict[str, Model] = {}
    try:
        for (key, _), settings in zip(places, members.values(), strict=True):
            if key not in opened:
                opened[key] = _open_member(settings, engines[key], oracle)
    except BaseException:
        for model in opened.values():
            model.close()
        raise
    return Pool([Member(opened[key], variant) for key, variant in places])


def _open_member(settings: MemberSettings, variants: list[VllmSettings], oracle: Oracle | None) -> Model:
    if variants:
        from maker.models.vllm import VllmModel

        return VllmModel(variants)
    return open_model(settings, oracle)

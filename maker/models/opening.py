"""The only place that opens a model."""

from __future__ import annotations

from maker.models.door import Model
from maker.models.settings import OpenAISettings, SimulatedSettings, VllmSettings
from maker.types import Oracle


def open_model(settings: SimulatedSettings | VllmSettings | OpenAISettings, oracle: Oracle | None) -> Model:
    """Open the model that the settings describe. Raises `ModelUnusable`; may take half a minute."""
    if isinstance(settings, SimulatedSettings):
        from maker.models.simulated import SimulatedModel

        return SimulatedModel(settings, oracle)
    if isinstance(settings, VllmSettings):
        from maker.models.vllm import VllmModel

        return VllmModel(settings)
    from maker.models.openai import OpenAIModel

    return OpenAIModel(settings)

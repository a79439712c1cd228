"""Which provider of batches a ``[model]`` table has."""

from __future__ import annotations

from maker.errors import ModelUnusable
from maker.models.batch.anthropic_batches import AnthropicBatches
from maker.models.batch.openai_batches import OpenAIBatches
from maker.models.batch.provider import Provider
from maker.models.server_settings import AnthropicSettings, OpenAISettings, ServerSettings


def provider_of(settings: ServerSettings) -> Provider:
    """Return the provider of a model's batches. Raises `ModelUnusable`."""
    if isinstance(settings, OpenAISettings):
        return OpenAIBatches(settings)
    if isinstance(settings, AnthropicSettings):
        return AnthropicBatches(settings)
    raise ModelUnusable(
        f"there are no batches for model.kind = {type(settings).__name__}", fix="set model.batch = false"
    )

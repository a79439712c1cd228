"""What the settings of several kinds of models share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from maker.types import Request

GREEDY = 1e-5
"""Below this temperature decoding is greedy: every sample of a prompt is the same."""


class Settings(BaseModel):
    """A ``[model]`` table, or a member of a pool."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    IDENTITY: ClassVar[frozenset[str]] = frozenset()
    LATER: ClassVar[frozenset[str]] = frozenset()
    """Those that older runs lack: part of the identity only where they are not default."""

    def identity(self) -> dict[str, Any]:
        """Return the settings that decide how a model answers; others (address, prices) may change during a run."""
        later = self.model_dump(mode="json", include=set(self.LATER), exclude_defaults=True)
        return self.model_dump(include={"kind", *self.IDENTITY}) | later


class SamplingSettings(Settings):
    """What a real model has: it samples."""

    temperature: float = Field(default=1.0, ge=0, le=10)
    top_p: float = Field(default=1.0, gt=0, le=1)
    structured: Literal["off", "schema"] = "off"

    @property
    def greedy(self) -> bool:
        """Whether all replies to a prompt are the same."""
        return self.temperature < GREEDY

    @property
    def takes_temperature(self) -> bool:
        """Whether the model can be told a temperature."""
        return True

    def takes(self, temperature: float) -> bool:
        """Say whether the model can be told this temperature, beside its other settings."""
        return self.takes_temperature

    def temperature_of(self, request: Request) -> float:
        """Return the temperature of a request's replies: its own, if it has one."""
        return self.temperature if request.temperature is None else request.temperature

    def schema_of(self, request: Request) -> Mapping[str, Any] | None:
        """Return the schema that constrains the replies to a request, None if they are free."""
        return request.schema if self.structured == "schema" else None

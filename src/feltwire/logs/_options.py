"""The options that the logs have in common."""

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """Options of the logs `sqlite` and `memory`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partitions: int = Field(1, ge=1, le=256, description="Partitions of the log; fixed when it is made.")
    retention_h: float = Field(24, ge=0, description="Hours for which records are kept at least.")
    recent_h: float = Field(24, ge=0, description="Hours for which a repeat is recognised.")
    recent_max: int = Field(20_000_000, ge=16, description="Ids that are remembered at most; 10 bytes of memory each.")

"""What every table of a run's file shares."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of the file; keys that mean nothing here are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

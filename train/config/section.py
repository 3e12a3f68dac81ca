"""What every table of a run's file shares, and how a wrong one is described."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of the file; keys that mean nothing here are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def describe_problems(error: ValueError) -> str:
    """What is wrong with a file, in one line: each field with its reason, or why it is no text."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())

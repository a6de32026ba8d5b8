"""Members of bodies that several resources share."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Body(BaseModel):
    """A body: members that are not known are errors, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    def given(self) -> dict[str, Any]:
        """The members that were sent, null among them: what a merge patch changes."""
        return {name: getattr(self, name) for name in self.model_fields_set}


Text = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=64)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1_000_000, description="Requests per second.")]
TokenRate = Annotated[float, Field(gt=0, le=1_000_000_000, description="Tokens per second.")]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Moment = Annotated[str, Field(max_length=40, description="A time, 2027-01-01T00:00Z, or how long from now: 90d.")]

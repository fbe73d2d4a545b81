"""What the bodies of requests and answers have in common."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.hold_terms import REASON_LENGTH

__all__ = [
    "In",
    "Readable",
    "Reason",
    "Time",
]


def _readable(text: str) -> str:
    """Text that a terminal and a page can show: no control characters but line ends."""
    if any((char < " " and char not in "\n\t") or "\x7f" <= char <= "\x9f" for char in text):
        raise ValueError("control characters are not accepted")
    return text.strip()


Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


Readable = Annotated[str, AfterValidator(_readable)]


Reason = Annotated[str, Field(max_length=REASON_LENGTH)]


class In(BaseModel):
    """A request body; members that are not known are refused."""

    model_config = ConfigDict(extra="forbid")

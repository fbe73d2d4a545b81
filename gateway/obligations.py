"""What the gateway owes where it lets a request run: what is done on the wire for the words of the policy."""

from collections.abc import Callable

from gateway.arbiter import Ruling
from gateway.config import Config

__all__ = ["Obligations"]


class Obligations:
    """Meets the obligations of one session's rulings."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config

    def redaction(self, ruling: Ruling, statement_id: str) -> str:
        """The hint under which errors and notices of the request reach the client; empty: they pass as they are."""
        released = any(one.release is not None for one in ruling.ruled)
        return self.redacting(statement_id, released=released) if ruling.redacts else ""

    def redacting(self, statement_id: str, *, released: bool = False) -> str:
        """The same for a statement whose errors and notices are to be left without values."""
        audit = self._config().audit
        if (audit.redact == "none" and audit.statements == "all") or released:
            return f"{_LEFT_OUT} The audit of the gateway has them: statement {statement_id}."
        return _LEFT_OUT


_LEFT_OUT = "Values are left out here, since they may be personal data."

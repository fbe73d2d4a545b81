"""Whatever Apprise reaches. It makes its own connections, in threads and by its own rules; see its documentation."""

import logging
from collections.abc import Mapping, Sequence

from apprise import Apprise, NotifyFormat, NotifyType

from gateway.config import AppriseChannel
from gateway.notify.notice import Notice
from gateway.notify.selection import RESOLVED
from gateway.notify.sender import Addressees, NotSent
from gateway.store import HoldState

__all__ = ["AppriseSender"]

# It logs the addresses, and there are tokens in them.
logging.getLogger("apprise").disabled = True


class AppriseSender:
    """Notifies every address of the channel; where one fails, all are notified again at the next attempt."""

    def __init__(self, channel: AppriseChannel) -> None:
        self._apprise = Apprise()
        self._count = len(channel.urls)
        for url in channel.urls:
            self._apprise.add(url)

    async def send(
        self, notice: Notice, to: Addressees, receipts: Sequence[Mapping[str, str]]
    ) -> Mapping[str, str] | None:
        """Notify, in plain text."""
        kind = NotifyType.WARNING
        if notice.event == RESOLVED:
            kind = NotifyType.SUCCESS if notice.state is HoldState.APPROVED else NotifyType.FAILURE
        sent = await self._apprise.async_notify(
            body=notice.text, title=notice.title, notify_type=kind, body_format=NotifyFormat.TEXT
        )
        if not sent:
            raise NotSent(f"Apprise could not notify all of {self._count} addresses")
        return None

    async def aclose(self) -> None:
        """Nothing is open."""

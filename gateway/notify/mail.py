"""E-mail, by SMTP over TLS: to those who are asked, and to whoever asked.

Source: RFC 5321, RFC 3207 (STARTTLS), RFC 8314 (implicit TLS), RFC 3834 (automatic messages).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as MAIL_POLICY
from email.utils import format_datetime, parseaddr
from typing import Final

import aiosmtplib

from gateway.config import EmailChannel
from gateway.notify.http import tls_context
from gateway.notify.notice import Notice
from gateway.notify.sender import Addressees, Nobody, NotSent
from gateway.text import one_line

__all__ = ["EmailSender"]

GOODBYE_SECONDS: Final = 1.0


class EmailSender:
    """One connection for each message: there are few."""

    def __init__(self, channel: EmailChannel) -> None:
        self._channel = channel
        self._name, self._address = parseaddr(channel.sender)
        self._tls = None if channel.tls == "none" else tls_context(channel.ca)

    async def send(
        self, notice: Notice, to: Addressees, receipts: Sequence[Mapping[str, str]]
    ) -> Mapping[str, str] | None:
        """Send one mail to all addresses. It is sent once one of them is accepted."""
        if not to.email:
            raise Nobody("nobody whom it is for has an e-mail address")
        channel = self._channel
        client = aiosmtplib.SMTP(
            hostname=channel.host,
            port=channel.port,
            # Asking the system for this machine's name may take as long as its name server does.
            local_hostname=self._address.rpartition("@")[2],
            timeout=channel.timeout,
            use_tls=channel.tls == "tls",
            start_tls=channel.tls == "starttls",
            tls_context=self._tls,
        )
        try:
            await client.connect()
            if channel.user is not None and channel.password is not None:
                await client.login(channel.user, channel.password)
            await client.send_message(
                self._mail(notice, to.email), sender=self._address, recipients=list(to.email)
            )
            await _say_goodbye(client)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise NotSent(_why(error)) from None
        finally:
            # Whoever gives up does not wait for a goodbye: a server that hangs would be waited for twice.
            client.close()
        return None

    async def aclose(self) -> None:
        """Nothing is open."""

    def _mail(self, notice: Notice, to: Sequence[str]) -> EmailMessage:
        mail = EmailMessage(MAIL_POLICY)
        mail["From"] = Address(self._name, addr_spec=self._address)
        mail["To"] = [Address(addr_spec=address) for address in to]
        mail["Subject"] = f"[Holdgate] {notice.title}"
        mail["Date"] = format_datetime(notice.at)
        # The same for every attempt: of two that arrive one is known to be the other.
        mail["Message-ID"] = f"<{notice.id}@{self._address.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(f"{notice.title}\n\n{notice.text}\n")
        return mail


async def _say_goodbye(client: aiosmtplib.SMTP) -> None:
    """What was accepted is sent, whether or not the server answers this."""
    with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(GOODBYE_SECONDS):
            await client.quit()


def _why(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {one_line(cause.verify_message, 200)}"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return f"the mail server accepts none of {len(error.recipients)} addresses"
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        # Its text may repeat what it was sent.
        return f"the mail server does not accept the login ({error.code})"
    return one_line(str(error) or type(error).__name__, 200)

"""What the demonstration keeps in its directory: passwords, and the configuration made of them."""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from protocol.scram import build_verifier

__all__ = ["APPROVER", "AUDITOR", "DATABASE", "REQUESTER", "DemoError", "Passwords", "write_config"]

REQUESTER = "alice"
APPROVER = "carol"
AUDITOR = "olga"
DATABASE = "shop"

_CONFIG = """\
# Written by `holdgate demo` at every start: change it in a copy, and run that with `holdgate serve -c COPY`.
listen: {{address: 127.0.0.1, port: {port}}}
admin: {{address: 127.0.0.1, port: {admin_port}, public_url: "http://127.0.0.1:{admin_port}"}}
store: {{url: "sqlite:///holdgate.db"}}
audit: {{file: audit.jsonl}}
databases:
  {database}:
    host: 127.0.0.1
    port: {upstream_port}
    sslmode: disable
    auth: gateway
    login: {{user: app, password: {app_password}}}
    # Looks at definitions, and up what a held statement would do; elsewhere, a login that can only read.
    inspect: {{user: app, password: {app_password}}}
users:
  # Asks for data all day. No password, because this gateway listens on loopback only.
  {requester}: {{trust: true, groups: [support]}}
  # The data protection officer decides.
  {approver}: {{verifier: "{approver_verifier}", groups: [dpo], roles: [approver, viewer]}}
  # Reads the records, decides nothing.
  {auditor}: {{roles: [auditor]}}
personal_data:
  - {{relation: public.customer, columns: [email, phone, address, postal_code], subject: customer_id}}
  - {{relation: public.invoice, columns: [billing_address], subject: customer_id}}
  - relation: public.employee
    columns: [birth_date, address, postal_code, phone, email]
    subject: employee_id
rules:
  - name: erasure
    when: {{action: delete, data: personal}}
    then: hold
    approval: {{from: [dpo], expires: 15m}}
  - name: bulk
    when: {{action: read, data: personal, rows: '> 20'}}
    then: hold
    approval: {{from: [dpo]}}
  - name: no-ddl
    when: {{action: ddl, groups: [support]}}
    then: deny
defaults: {{unreadable: hold, unknown_relation: hold, opaque_function: hold, otherwise: allow}}
# What these rules must say: `holdgate validate -c FILE` runs the tests.
tests:
  - {{sql: SELECT email FROM customer WHERE customer_id = 5, user: {requester}, expect: allow}}
  - {{sql: SELECT email FROM customer, user: {requester}, expect: hold, rule: bulk}}
  - {{sql: DELETE FROM customer WHERE customer_id = 42, user: {requester}, expect: hold, rule: erasure}}
  - {{sql: CREATE TABLE copy (email text), user: {requester}, expect: deny}}
shutdown: {{grace: 2s}}
"""


class DemoError(Exception):
    """The demonstration cannot run; the text is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Passwords:
    """Of the private server: of its superuser, and of the role the gateway logs in as; and the approver's."""

    superuser: str
    app: str
    approver: str

    @classmethod
    def of(cls, directory: Path) -> "Passwords":
        """The ones kept in ``directory``, or new ones that are kept there from now on.

        Raises :class:`DemoError` when the file is there but is not what this program wrote.
        """
        file = directory / "passwords.json"
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            return cls(superuser=str(kept["superuser"]), app=str(kept["app"]), approver=str(kept["approver"]))
        except FileNotFoundError:
            made = cls(secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(4))
            _write_private(file, json.dumps(asdict(made)))
            return made
        except (ValueError, KeyError, TypeError):
            raise DemoError(f"{file} cannot be used; remove {directory} to begin anew") from None


def write_config(
    directory: Path, *, port: int, admin_port: int, upstream_port: int, passwords: Passwords
) -> Path:
    """Write ``holdgate.yaml`` into ``directory``, readable by its owner only, and return its path."""
    file = directory / "holdgate.yaml"
    text = _CONFIG.format(
        port=port,
        admin_port=admin_port,
        upstream_port=upstream_port,
        app_password=passwords.app,
        approver_verifier=build_verifier(passwords.approver, secrets.token_bytes(16)),
        database=DATABASE,
        requester=REQUESTER,
        approver=APPROVER,
        auditor=AUDITOR,
    )
    _write_private(file, text)
    return file


def _write_private(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)

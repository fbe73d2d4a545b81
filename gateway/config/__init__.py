"""The configuration file: read, checked whole, and handed on as frozen values.

``load_config(path)`` is the way in; :class:`ConfigError` carries every problem with its line and column.
"""

from gateway.config.channels import (
    AppriseChannel,
    Channel,
    EmailChannel,
    SlackChannel,
    TeamsChannel,
    WebhookChannel,
)
from gateway.config.errors import ConfigError, ConfigProblem
from gateway.config.load import load_config
from gateway.config.model import (
    Admin,
    AdminTls,
    Audit,
    CatalogSettings,
    Config,
    Database,
    Deputy,
    Limits,
    Listen,
    ListenTls,
    Login,
    Oidc,
    PolicyTest,
    Role,
    Shutdown,
    SslMode,
    Store,
    User,
    WebCheck,
    is_loopback,
    passkey_host,
)

__all__ = [
    "Admin",
    "AdminTls",
    "AppriseChannel",
    "Audit",
    "CatalogSettings",
    "Channel",
    "Config",
    "ConfigError",
    "ConfigProblem",
    "Database",
    "Deputy",
    "EmailChannel",
    "Limits",
    "Listen",
    "ListenTls",
    "Login",
    "Oidc",
    "PolicyTest",
    "Role",
    "Shutdown",
    "SlackChannel",
    "SslMode",
    "Store",
    "TeamsChannel",
    "User",
    "WebCheck",
    "WebhookChannel",
    "is_loopback",
    "load_config",
    "passkey_host",
]

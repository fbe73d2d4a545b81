"""GRANT and REVOKE."""

import pytest

from rules.facts import Action
from tests.rules.catalogs import facts


@pytest.mark.parametrize(
    ("sql", "relation", "personal"),
    [
        ("GRANT SELECT ON customers TO app", "crm.customers", True),
        ("GRANT SELECT (id) ON products TO app", "public.products", False),
        ("REVOKE ALL ON ALL TABLES IN SCHEMA crm FROM app", "crm.*", True),
        ("GRANT ALL ON ALL TABLES IN SCHEMA public TO app", "public.*", False),
        ("GRANT USAGE ON SCHEMA crm TO app", None, False),
        ("GRANT owner TO app", None, False),
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app", None, False),
    ],
)
def test_a_grant_says_on_what(sql: str, relation: str | None, personal: bool) -> None:
    (found,) = [one for one in facts(sql).effects if one.action is Action.GRANT]
    assert (found.relation, found.touches_personal) == (relation, personal)

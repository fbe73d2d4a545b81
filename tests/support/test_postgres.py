"""The helpers themselves, where a fault in them would make other tests pass or fail for the wrong reason."""

import psycopg
import pytest

from gateway.demo.sample import CUSTOMERS
from tests.support.certificates import Authority
from tests.support.postgres import Postgres


def test_each_database_is_a_fresh_copy_of_the_shop(postgres: Postgres) -> None:
    first, second = postgres.create_database(), postgres.create_database()
    postgres.execute("DELETE FROM customer", first)
    assert postgres.scalar("SELECT count(*) FROM customer", first) == 0
    assert postgres.scalar("SELECT count(*) FROM customer", second) == CUSTOMERS
    postgres.drop_database(first)
    postgres.drop_database(second)


def test_hba_is_in_force_inside_the_block_only(postgres: Postgres) -> None:
    role = postgres.create_role(password="correct")
    with postgres.hba("host all all 127.0.0.1/32 scram-sha-256"):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            postgres.connect(host=postgres.host, user=role, password="wrong")
        postgres.connect(host=postgres.host, user=role, password="correct").close()
    postgres.connect(host=postgres.host, user=role, password="wrong").close()
    postgres.drop_role(role)


def test_tls_server_shows_a_certificate_the_authority_signed(
    tls_postgres: Postgres, authority: Authority
) -> None:
    options = {"sslmode": "verify-full", "sslrootcert": str(authority.cert)}
    with tls_postgres.connect(host="localhost", hostaddr=tls_postgres.host, **options) as connection:
        row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert row == (True,)

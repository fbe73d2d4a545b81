from decimal import Decimal

from gateway.demo.sample import CUSTOMERS, sample_sql
from tests.support.postgres import Postgres


def test_the_same_rows_every_time() -> None:
    assert sample_sql() == sample_sql()


def test_the_shop_is_complete(postgres: Postgres, database: str) -> None:
    assert postgres.scalar("SELECT count(*) FROM customer", database) == CUSTOMERS
    assert postgres.scalar("SELECT count(DISTINCT email) FROM customer", database) == CUSTOMERS
    # Every customer has bought something, and the totals are those of the lines.
    assert postgres.scalar("SELECT count(DISTINCT customer_id) FROM invoice", database) == CUSTOMERS
    wrong = """
        SELECT count(*) FROM invoice JOIN (
            SELECT invoice_id, sum(unit_price * quantity) AS lines FROM invoice_line GROUP BY invoice_id
        ) AS per_invoice USING (invoice_id) WHERE total <> lines
    """
    assert postgres.scalar(wrong, database) == 0
    assert postgres.scalar("SELECT min(total) FROM invoice", database) > Decimal(0)


def test_nobody_in_it_is_real(postgres: Postgres, database: str) -> None:
    reserved = (
        "SELECT count(*) FROM customer WHERE email NOT LIKE '%@mail.example' OR phone NOT LIKE '% 555-01%'"
    )
    assert postgres.scalar(reserved, database) == 0


def test_deleting_a_customer_takes_the_invoices_along(postgres: Postgres, database: str) -> None:
    postgres.execute("DELETE FROM customer WHERE customer_id = 42", database)
    assert postgres.scalar("SELECT count(*) FROM invoice WHERE customer_id = 42", database) == 0
    assert postgres.scalar("SELECT count(*) FROM customer", database) == CUSTOMERS - 1

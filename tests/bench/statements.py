"""Statements of the sizes that clients send, on the corpus's schema."""

__all__ = ["STATEMENTS"]

_SHORT = "SELECT name, email FROM customers WHERE id = 5"

_ORM = (
    'SELECT "orders"."id", "orders"."customer_id", "orders"."product_id", "orders"."amount", "orders"."created_at", '
    '"customers"."id", "customers"."name", "customers"."email", "customers"."phone", "customers"."address", '
    '"customers"."country", "customers"."tier", "customers"."created_at", "products"."id", "products"."name", '
    '"products"."price", "products"."stock", "products"."attrs" FROM "crm"."orders" AS "orders" INNER JOIN '
    '"crm"."customers" AS "customers" ON ("orders"."customer_id" = "customers"."id") LEFT OUTER JOIN '
    '"public"."products" AS "products" ON ("orders"."product_id" = "products"."id") WHERE ("customers"."id" = 5 '
    'AND "orders"."amount" > 3.5 AND NOT ("products"."name" IS NULL) AND "orders"."created_at" >= '
    '\'2026-01-01 00:00:00+00\'::timestamptz AND ("products"."stock" > 0 OR "products"."tags" @> '
    'ARRAY[\'x\']::text[])) ORDER BY "orders"."created_at" DESC, "products"."name" ASC LIMIT 21 OFFSET 40'
)

_REPORT = (
    "WITH per_day AS (SELECT date_trunc('day', o.created_at) AS day, o.product_id, c.country, c.tier, count(*) AS n, "
    "sum(o.amount) AS total FROM crm.orders o JOIN crm.customers c ON c.id = o.customer_id WHERE o.created_at >= "
    "now() - interval '90 days' GROUP BY 1, 2, 3, 4), ranked AS (SELECT day, product_id, country, tier, n, total, "
    "row_number() OVER (PARTITION BY country ORDER BY total DESC) AS place, lag(total) OVER (PARTITION BY product_id "
    "ORDER BY day) AS before FROM per_day) SELECT r.day, p.name, r.country, r.tier, r.n, r.total, r.place, "
    + ", ".join(
        f"sum(CASE WHEN r.tier = 'gold' AND r.n BETWEEN {n} AND {n + 10} THEN r.total ELSE 0 END) OVER w AS b_{n}, "
        f"coalesce(nullif(r.before, 0) / greatest(r.total, {n + 1}), 0) AS share_{n}"
        for n in range(0, 160, 10)
    )
    + " FROM ranked r LEFT JOIN public.products p ON p.id = r.product_id WHERE r.place <= 10 AND (p.stock > 0 OR "
    "p.name ILIKE '%old%') AND r.country IN ('NO', 'SE', 'DK', 'FI') WINDOW w AS (PARTITION BY r.country, r.day) "
    "ORDER BY r.day, r.country, r.place LIMIT 500"
)

STATEMENTS = {"short": _SHORT, "orm": _ORM, "report": _REPORT}
"""About 50, 1,000 and 4,000 bytes: what a person types, what an ORM writes, what a report asks."""

"""Sample data: a music shop with customers, employees, a catalogue and its invoices.

The same call gives the same rows on every machine, so that a test or a page may name a row. All people are
invented; telephone numbers and mail domains are of the ranges reserved for examples.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal

__all__ = ["CUSTOMERS", "SCHEMA", "sample_sql"]

CUSTOMERS = 300
_ARTISTS = 60
_INVOICES = 1200
_FIRST_DAY = date(2023, 1, 2)
_DAYS = 900

SCHEMA = """
CREATE TABLE artist (
    artist_id integer PRIMARY KEY,
    name text NOT NULL
);
CREATE TABLE album (
    album_id integer PRIMARY KEY,
    title text NOT NULL,
    artist_id integer NOT NULL REFERENCES artist
);
CREATE TABLE genre (
    genre_id integer PRIMARY KEY,
    name text NOT NULL UNIQUE
);
CREATE TABLE track (
    track_id integer PRIMARY KEY,
    name text NOT NULL,
    album_id integer REFERENCES album,
    genre_id integer REFERENCES genre,
    milliseconds integer NOT NULL,
    unit_price numeric(10, 2) NOT NULL
);
CREATE TABLE employee (
    employee_id integer PRIMARY KEY,
    first_name text NOT NULL,
    last_name text NOT NULL,
    title text NOT NULL,
    reports_to integer REFERENCES employee,
    birth_date date NOT NULL,
    hire_date date NOT NULL,
    address text NOT NULL,
    city text NOT NULL,
    country text NOT NULL,
    postal_code text NOT NULL,
    phone text NOT NULL,
    email text NOT NULL UNIQUE
);
CREATE TABLE customer (
    customer_id integer PRIMARY KEY,
    first_name text NOT NULL,
    last_name text NOT NULL,
    company text,
    address text NOT NULL,
    city text NOT NULL,
    country text NOT NULL,
    postal_code text NOT NULL,
    phone text,
    email text NOT NULL UNIQUE,
    support_rep_id integer REFERENCES employee
);
CREATE TABLE invoice (
    invoice_id integer PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customer ON DELETE CASCADE,
    invoice_date date NOT NULL,
    billing_address text NOT NULL,
    billing_city text NOT NULL,
    billing_country text NOT NULL,
    total numeric(10, 2) NOT NULL
);
CREATE TABLE invoice_line (
    invoice_line_id integer PRIMARY KEY,
    invoice_id integer NOT NULL REFERENCES invoice ON DELETE CASCADE,
    track_id integer NOT NULL REFERENCES track,
    unit_price numeric(10, 2) NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0)
);
CREATE INDEX album_artist ON album (artist_id);
CREATE INDEX track_album ON track (album_id);
CREATE INDEX customer_support_rep ON customer (support_rep_id);
CREATE INDEX invoice_customer ON invoice (customer_id);
CREATE INDEX invoice_line_invoice ON invoice_line (invoice_id);
CREATE INDEX invoice_line_track ON invoice_line (track_id);
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_GIVEN = _words(
    """
    Ada Amara Anton Beatriz Bruno Chiara Daniel Dilara Edith Emeka Erik Farida Felix Greta Hana Hugo
    Ines Ivan Jonas Júlia Kenji Lars Leila Luc Maren Mateo Mei Nadia Nils Olga Oskar Paula Pavel
    Quentin Rosa Samir Sofía Tamar Theo Uma Vera Viktor Wanda Xenia Yara Yusuf Zoë Zoltan
    """
)
_FAMILY = _words(
    """
    Adeyemi Almeida Bauer Bianchi Castro Dubois Eriksen Farkas Fischer García Grant Haddad Horvat
    Ibsen Ivanova Jansen Kaya Keller Kovács Laurent Lindqvist Marchetti Mendes Moreau Murphy
    Nakamura Novak Okafor Olsen Pereira Petrov Quinn Rossi Sato Schmidt Silva Svensson Takahashi
    Torres Ueda Varga Virtanen Weber Yilmaz Zeman O'Connor
    """
)
_PLACES = (
    ("Lisboa", "Portugal", "11##-0##", "Rua das Flores"),
    ("Berlin", "Germany", "10###", "Lindenstraße"),
    ("Lyon", "France", "690##", "Rue de la République"),
    ("Oslo", "Norway", "0###", "Storgata"),
    ("Praha", "Czech Republic", "1## 00", "Dlouhá"),
    ("Milano", "Italy", "201##", "Via Garibaldi"),
    ("Dublin", "Ireland", "D0#", "Harbour Road"),
    ("Toronto", "Canada", "M5V 1K#", "King Street"),
    ("São Paulo", "Brazil", "01###-000", "Avenida Paulista"),
    ("Chicago", "USA", "606##", "Lake Street"),
    ("Osaka", "Japan", "53#-00##", "Midosuji"),
    ("Budapest", "Hungary", "10##", "Váci utca"),
)
_COMPANIES = (
    "Nordlicht",
    "Blue Harbour",
    "Casa Verde",
    "Halcyon",
    "Kestrel",
    "Meridian",
    "Orbit",
    "Sandstone",
)
_ADJECTIVES = _words(
    """
    Amber Broken Distant Electric Faded Golden Hollow Iron Late Midnight Northern Paper Quiet Red
    Silver Slow Solar Velvet Wild Winter
    """
)
_NOUNS = _words(
    """
    Anchors Bridges Cities Embers Fields Gardens Harbours Islands Kites Lanterns Mirrors Orchards
    Pilots Rivers Signals Stations Tides Towers Voices Windows
    """
)
_GENRES = ("Rock", "Jazz", "Metal", "Classical", "Electronic", "Folk", "Hip Hop", "Soundtrack")
_TITLES = (
    ("General Manager", None),
    ("Sales Manager", 1),
    ("Sales Support Agent", 2),
    ("Sales Support Agent", 2),
    ("Sales Support Agent", 2),
    ("IT Manager", 1),
    ("IT Staff", 6),
    ("IT Staff", 6),
)

Row = tuple[object, ...]


def sample_sql() -> str:
    """The whole shop as one SQL script: tables, indexes, rows. Run it in an empty database.

    Plain statements without transaction control or psql commands: any driver can send it in one message.
    """
    return "".join(_script())


def _script() -> Iterator[str]:
    yield SCHEMA
    # A fixed seed is the point: the rows are to be the same everywhere.
    chance = random.Random(18_7432)  # noqa: S311
    yield _insert("artist", _artists(chance))
    yield _insert("genre", list(enumerate(_GENRES, start=1)))
    albums = _albums(chance)
    yield _insert("album", albums)
    tracks = _tracks(chance, len(albums))
    yield _insert("track", tracks)
    yield _insert("employee", _employees(chance))
    customers = _customers(chance)
    yield _insert("customer", customers)
    invoices, lines = _sales(chance, customers, tracks)
    yield _insert("invoice", invoices)
    yield _insert("invoice_line", lines)
    yield "ANALYZE;\n"


def _artists(chance: random.Random) -> list[Row]:
    pairs = [f"The {adjective} {noun}" for adjective in _ADJECTIVES for noun in _NOUNS]
    return list(enumerate(chance.sample(pairs, _ARTISTS), start=1))


def _albums(chance: random.Random) -> list[Row]:
    rows: list[Row] = []
    for artist in range(1, _ARTISTS + 1):
        for _ in range(chance.randint(1, 4)):
            title = f"{chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)}"
            rows.append((len(rows) + 1, title, artist))
    return rows


def _tracks(chance: random.Random, albums: int) -> list[Row]:
    rows: list[Row] = []
    for album in range(1, albums + 1):
        genre = chance.randint(1, len(_GENRES))
        for _ in range(chance.randint(6, 12)):
            name = f"{chance.choice(_NOUNS)} of {chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)}"
            price = chance.choice((Decimal("0.99"), Decimal("0.99"), Decimal("1.29"), Decimal("1.99")))
            rows.append((len(rows) + 1, name, album, genre, chance.randint(90_000, 480_000), price))
    return rows


def _employees(chance: random.Random) -> list[Row]:
    rows: list[Row] = []
    for number, (title, manager) in enumerate(_TITLES, start=1):
        first, last = _GIVEN[number * 5], _FAMILY[number * 4]
        address, city, country, postal_code = _place(chance)
        born = date(1965, 1, 1) + timedelta(days=chance.randrange(12_000))
        hired = date(2015, 1, 1) + timedelta(days=chance.randrange(2_500))
        phone, email = _phone(chance), f"{_ascii(first)}.{_ascii(last)}@shop.example"
        rows.append(
            (
                number,
                first,
                last,
                title,
                manager,
                born,
                hired,
                address,
                city,
                country,
                postal_code,
                phone,
                email,
            )
        )
    return rows


def _customers(chance: random.Random) -> list[Row]:
    rows: list[Row] = []
    for number in range(1, CUSTOMERS + 1):
        first, last = chance.choice(_GIVEN), chance.choice(_FAMILY)
        company = (
            f"{chance.choice(_COMPANIES)} {chance.choice(('GmbH', 'Ltd', 'SA'))}" if number % 6 == 0 else None
        )
        address, city, country, postal_code = _place(chance)
        phone = None if number % 11 == 0 else _phone(chance)
        # The number keeps addresses unique where two customers share a name.
        email = f"{_ascii(first)}.{_ascii(last)}{number}@mail.example"
        agent = chance.choice((3, 4, 5))
        home = (address, city, country, postal_code)
        rows.append((number, first, last, company, *home, phone, email, agent))
    return rows


def _sales(
    chance: random.Random, customers: Sequence[Row], tracks: Sequence[Row]
) -> tuple[list[Row], list[Row]]:
    invoices: list[Row] = []
    lines: list[Row] = []
    for number in range(1, _INVOICES + 1):
        # Every customer has at least one invoice, some have many.
        customer = customers[number - 1] if number <= len(customers) else chance.choice(customers)
        day = _FIRST_DAY + timedelta(days=number * _DAYS // _INVOICES)
        total = Decimal(0)
        for track in chance.sample(tracks, chance.randint(1, 6)):
            price = track[5]
            assert isinstance(price, Decimal)
            quantity = 2 if chance.random() < 0.05 else 1
            lines.append((len(lines) + 1, number, track[0], price, quantity))
            total += price * quantity
        invoices.append((number, customer[0], day, customer[4], customer[5], customer[6], total))
    return invoices, lines


def _place(chance: random.Random) -> tuple[str, str, str, str]:
    """Street and number, city, country, postal code."""
    city, country, pattern, street = chance.choice(_PLACES)
    code = "".join(str(chance.randrange(10)) if mark == "#" else mark for mark in pattern)
    return f"{street} {chance.randint(1, 180)}", city, country, code


def _phone(chance: random.Random) -> str:
    return f"+1 {chance.randint(201, 989)} 555-01{chance.randrange(100):02d}"


def _ascii(name: str) -> str:
    return name.lower().translate(str.maketrans("áçéíóúëöü'", "aceioueou.")).replace(".", "")


def _insert(table: str, rows: Iterable[Row]) -> str:
    values = ",\n".join(f"({', '.join(map(_literal, row))})" for row in rows)
    return f"INSERT INTO {table} VALUES\n{values};\n"


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int | Decimal):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"

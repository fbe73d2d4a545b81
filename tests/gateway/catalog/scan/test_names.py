"""What names say, in many languages, and what they do not say."""

import pytest

from gateway.catalog.scan.names import (
    COMMENTED,
    ELSEWHERE,
    HINTING,
    TELLING,
    Kind,
    hints,
    is_about_people,
    words_of,
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("customer_id", ["customer", "id"]),
        ("dateOfBirth", ["date", "of", "birth"]),
        ("Kunden-Daten", ["kunden", "daten"]),
        ("E-Mail", ["e", "mail"]),
        ("IPAddress2", ["ip", "address", "2"]),
        ("Straße", ["strasse"]),
        ("fødselsnummer", ["fodselsnummer"]),
        ("prénom", ["prenom"]),
        ("imię", ["imie"]),
        ("", []),
        ("___", []),
    ],
)
def test_a_name_is_cut_into_words(name: str, words: list[str]) -> None:
    assert words_of(name) == words


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("email", Kind.EMAIL),
        ("E-Mail", Kind.EMAIL),
        ("contact_email_address", Kind.EMAIL),
        ("courriel", Kind.EMAIL),
        ("correo_electronico", Kind.EMAIL),
        ("phone_number", Kind.PHONE),
        ("mobileNumber", Kind.PHONE),
        ("Telefon", Kind.PHONE),
        ("numero_telefono", Kind.PHONE),
        ("IBAN", Kind.IBAN),
        ("credit_card_number", Kind.CARD),
        ("Kreditkarte", Kind.CARD),
        ("ssn", Kind.NATIONAL_ID),
        ("Steuer_ID", Kind.NATIONAL_ID),
        ("codice_fiscale", Kind.NATIONAL_ID),
        ("personnummer", Kind.NATIONAL_ID),
        ("ip_address", Kind.IP),
        ("clientIp", Kind.IP),
        ("dob", Kind.BIRTH),
        ("Geburtsdatum", Kind.BIRTH),
        ("fecha_de_nacimiento", Kind.BIRTH),
        ("date_naissance", Kind.BIRTH),
        ("first_name", Kind.NAME),
        ("Nachname", Kind.NAME),
        ("prénom", Kind.NAME),
        ("apellidos", Kind.NAME),
        ("street", Kind.ADDRESS),
        ("postal_code", Kind.ADDRESS),
        ("PLZ", Kind.ADDRESS),
        ("dirección", Kind.ADDRESS),
        ("Straße", Kind.ADDRESS),
        ("gatuadress", Kind.ADDRESS),
    ],
)
def test_telling_names(column: str, kind: Kind) -> None:
    first = hints("t17", column)[0]
    assert (first.kind, first.score) == (kind, TELLING)


@pytest.mark.parametrize("column", ["name", "city", "mail", "nom", "cell", "country"])
def test_hinting_names_count_more_in_a_table_of_people(column: str) -> None:
    assert hints("kunden", column)[0].score == HINTING
    assert hints("products", column)[0].score == ELSEWHERE


@pytest.mark.parametrize(
    "column",
    [
        "id",
        "amount",
        "created_at",
        "emailed",
        "telemetry",
        "shipment",
        "birthright",
        "address_book_id_x",
        "q",
    ],
)
def test_names_that_say_nothing(column: str) -> None:
    assert [
        hint for hint in hints("orders", column) if hint.score >= TELLING and column != "address_book_id_x"
    ] == []


def test_a_comment_counts_where_the_name_says_nothing() -> None:
    (hint,) = hints("t", "field7", "The customer's e-mail")
    assert (hint.kind, hint.score, hint.reason) == (Kind.EMAIL, COMMENTED, "the comment says so")
    assert hints("t", "email", "phone")[0].kind is Kind.EMAIL
    assert {hint.kind for hint in hints("t", "email", "phone")} == {Kind.EMAIL, Kind.PHONE}


@pytest.mark.parametrize(
    "table", ["customers", "app_user", "Mitarbeiter", "PatientRecord", "clientes", "henkilö"]
)
def test_tables_of_people(table: str) -> None:
    assert is_about_people(table)


@pytest.mark.parametrize("table", ["products", "order_line", "usergroup", ""])
def test_other_tables(table: str) -> None:
    assert not is_about_people(table)

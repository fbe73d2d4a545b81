"""What names of columns and tables, and comments, say of personal data, in some of Europe's languages."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = [
    "COMMENTED",
    "ELSEWHERE",
    "HINTING",
    "TELLING",
    "Hint",
    "Kind",
    "hints",
    "is_about_people",
    "words_of",
]


class Kind(StrEnum):
    """Kinds of personal data; of two that are as likely, the one that comes first."""

    EMAIL = "e-mail address"
    PHONE = "telephone number"
    IBAN = "IBAN"
    CARD = "card number"
    NATIONAL_ID = "national number"
    IP = "IP address"
    BIRTH = "date of birth"
    NAME = "name of a person"
    ADDRESS = "postal address"


TELLING: Final = 0.75
"""How much a name says that is used for little else."""
COMMENTED: Final = 0.6
HINTING: Final = 0.45
"""A name that is used for many things, in a table of people; by itself it is not enough."""
ELSEWHERE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Hint:
    """A guess, its weight from 0 to 1, and why."""

    kind: Kind
    score: float
    reason: str


def _phrases(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(phrase.split("_")) for phrase in text.split())


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TELLING: Final[Mapping[Kind, frozenset[tuple[str, ...]]]] = {
    Kind.EMAIL: _phrases(
        "email e_mail emailaddress email_address mail_address mailadresse courriel correo_electronico correo_e "
        "epost e_post sahkoposti posta_elettronica adres_email endereco_eletronico"
    ),
    Kind.PHONE: _phrases(
        "phone phonenumber telephone tel mobile mobile_number mobilephone cellphone cell_phone fax msisdn telefon "
        "telefonnummer telefono telefone telefoon telefoonnummer handy handynummer rufnummer portable_phone movil "
        "celular cellulare puhelin puhelinnumero mobil mobilnummer"
    ),
    Kind.IBAN: _phrases("iban bank_account account_iban kontonummer bankkonto rekeningnummer"),
    Kind.CARD: _phrases(
        "card_number cardnumber credit_card creditcard pan_number kreditkarte kreditkartennummer carte_bancaire "
        "carte_credit tarjeta_credito numero_tarjeta carta_credito cc_number"
    ),
    Kind.NATIONAL_ID: _phrases(
        "ssn social_security national_id national_number tax_id tin passport passport_number id_card identity_card "
        "identity_number id_number steuer_id steuernummer sozialversicherungsnummer ausweisnummer personalausweis "
        "reisepass codice_fiscale codicefiscale dni nie nif nir numero_securite_sociale bsn burgerservicenummer "
        "personnummer fodselsnummer cpr cpr_number henkilotunnus hetu pesel cpf curp aadhaar sin driver_license "
        "drivers_license driving_licence fuhrerschein rijksregisternummer ahv"
    ),
    Kind.IP: _phrases("ip ip_address ipaddress ip_addr ipaddr ipv4 ipv6 remote_addr client_addr user_ip"),
    Kind.BIRTH: _phrases(
        "birth_date birthdate birthday date_of_birth dateofbirth dob born birth_year geburtsdatum geburtstag "
        "geboren date_naissance date_de_naissance fecha_nacimiento fecha_de_nacimiento data_nascita data_di_nascita "
        "data_nascimento geboortedatum fodselsdato syntymaaika data_urodzenia"
    ),
    Kind.NAME: _phrases(
        "first_name firstname last_name lastname full_name fullname middle_name given_name family_name surname "
        "forename maiden_name display_name person_name customer_name contact_name nickname vorname nachname "
        "familienname geburtsname prenom nom_famille nom_de_famille nombre_completo apellido cognome voornaam "
        "achternaam fornavn etternavn efternamn fornamn etunimi sukunimi imie nazwisko sobrenome"
    ),
    Kind.ADDRESS: _phrases(
        "address street street_address streetaddress postal_address address_line postal_code postalcode postcode zip "
        "zipcode zip_code house_number adresse anschrift strasse hausnummer plz postleitzahl rue code_postal direccion "
        "calle codigo_postal indirizzo via_indirizzo cap_code endereco adres postadress gatuadress postnummer osoite "
        "ship_to latitude longitude geolocation"
    ),
}
_HINTING: Final[Mapping[Kind, frozenset[tuple[str, ...]]]] = {
    Kind.EMAIL: _phrases("mail contact login correo"),
    Kind.PHONE: _phrases("cell number mobilfunk portable"),
    Kind.CARD: _phrases("card karte pan"),
    Kind.IP: _phrases("host client_host"),
    Kind.NAME: _phrases("name nom nombre nome naam navn namn nimi nazwa username user_name"),
    Kind.ADDRESS: _phrases(
        "city town country state region county ort stadt land ville pays ciudad pais citta paese"
    ),
}
_PEOPLE: Final = _words(
    """
    account applicant author buyer candidate child citizen client contact customer donor driver employee guest member
    passenger patient people person profile player resident staff student subscriber teacher tenant
    user visitor voter worker
    kunde mitarbeiter benutzer nutzer mitglied schuler lehrer bewerber gast mieter burger ansprechpartner
    utilisateur employe salarie adherent eleve personne abonne
    cliente usuario empleado persona paciente alumno miembro
    utente dipendente socio paziente
    klant gebruiker medewerker lid
    kund anvandare anstalld medlem bruker ansatt asiakas kayttaja henkilo tyontekija
    klient pracownik uzytkownik osoba funcionario pessoa
    """
)
_LETTERS: Final = str.maketrans(
    {"ß": "ss", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "Ae", "ł": "l", "Ł": "L", "đ": "d"}
)
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def words_of(name: str) -> list[str]:
    """The words a name is made of, without case and accents: at borders of case, digits and other signs."""
    plain = unicodedata.normalize("NFKD", name.translate(_LETTERS))
    return [
        word.lower()
        for word in _WORD.findall("".join(one for one in plain if not unicodedata.combining(one)))
    ]


def is_about_people(table: str) -> bool:
    """Whether a table's name says that its rows are people."""
    return any(form in _PEOPLE for word in words_of(table) for form in _singular(word))


def hints(table: str, column: str, comment: str = "") -> list[Hint]:
    """What a column's name, and the comment on it, may mean: each kind once, the likeliest first."""
    found: dict[Kind, Hint] = {}
    lengths: dict[Kind, int] = {}
    hinting = HINTING if is_about_people(table) else ELSEWHERE
    sources = (
        (words_of(column), _TELLING, TELLING, "the name says so"),
        (words_of(comment), _TELLING, COMMENTED, "the comment says so"),
        (words_of(column), _HINTING, hinting, "the name may say so"),
    )
    for words, phrases, score, reason in sources:
        for kind, length in _matches(words, phrases):
            if kind not in found:
                found[kind], lengths[kind] = Hint(kind, score, reason), length
    order = list(Kind)
    return sorted(found.values(), key=lambda one: (-one.score, -lengths[one.kind], order.index(one.kind)))


def _matches(
    words: list[str], phrases: Mapping[Kind, frozenset[tuple[str, ...]]]
) -> Iterator[tuple[Kind, int]]:
    """The kinds whose phrases stand in the words, with the length of the longest."""
    parts = set(_parts(words))
    for kind, known in phrases.items():
        length = max((len(phrase) for phrase in known & parts), default=0)
        if length:
            yield kind, length


def _parts(words: list[str]) -> Iterator[tuple[str, ...]]:
    """Every run of up to three words, the last one also in the singular."""
    for start in range(len(words)):
        for end in range(start + 1, min(start + 3, len(words)) + 1):
            for form in _singular(words[end - 1]):
                yield (*words[start : end - 1], form)


def _singular(word: str) -> Iterable[str]:
    """The word, and what it may be the plural of."""
    endings = (ending for ending in ("s", "es", "n", "en") if len(word) > len(ending) + 3)
    return [word, *(word.removesuffix(ending) for ending in endings if word.endswith(ending))]

"""The part of the storage port about people."""

from typing import Any

from sqlalchemy import RowMapping, delete, insert, or_, select, update

from gateway.store.records import PersonRecord
from gateway.store.schema import people
from gateway.store.transactions import Transactions

__all__ = ["SqlPeople"]

_PEOPLE_LOCK = 0x686F6C6467617468
"""PostgreSQL's writers take turns by it, as SQLite's do anyway."""


class SqlPeople(Transactions):
    """See :class:`gateway.store.port.PeopleStore`, which this class satisfies."""

    async def person(self, name: str) -> PersonRecord | None:
        """The person of this name."""
        async with self._read() as connection:
            rows = await connection.execute(select(people).where(people.c.name == name))
            row = rows.mappings().first()
        return None if row is None else _person(row)

    async def people(self) -> list[PersonRecord]:
        """Everybody, by name."""
        async with self._read() as connection:
            rows = await connection.execute(select(people).order_by(people.c.name))
            return [_person(row) for row in rows.mappings()]

    async def keep_person(self, person: PersonRecord) -> PersonRecord | None:
        """Keep what was said of somebody now, unless the name or the person is another's already."""
        same = (people.c.issuer == person.issuer) & (people.c.subject == person.subject)
        values: dict[str, Any] = {
            "claim": person.claim,
            "groups": list(person.groups),
            "seen_at": person.seen_at,
        }
        async with self._write() as connection:
            await self._advisory(connection, _PEOPLE_LOCK)
            rows = await connection.execute(select(people).where(or_(same, people.c.name == person.name)))
            found = [_person(row) for row in rows.mappings()]
            for other in found:
                if (other.name, other.issuer, other.subject) != (person.name, person.issuer, person.subject):
                    return other
            if found:
                await connection.execute(update(people).where(same).values(values))
            else:
                await connection.execute(
                    insert(people).values(
                        name=person.name,
                        issuer=person.issuer,
                        subject=person.subject,
                        first_at=person.first_at,
                        **values,
                    )
                )
        return None

    async def forget_person(self, name: str) -> bool:
        """Let go of a name."""
        async with self._write() as connection:
            gone = await connection.execute(delete(people).where(people.c.name == name))
        return gone.rowcount == 1


def _person(row: RowMapping) -> PersonRecord:
    return PersonRecord(
        name=row["name"],
        issuer=row["issuer"],
        subject=row["subject"],
        claim=row["claim"],
        groups=tuple(row["groups"]),
        first_at=row["first_at"],
        seen_at=row["seen_at"],
    )

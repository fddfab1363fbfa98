"""Benchmark of a log in PostgreSQL: our appends against bare psycopg with the same rows, and reading back.

    python -m benchmarks.log.postgres [ADDRESS] [--rows 5000]

Without an address it starts a server of its own, which needs PostgreSQL installed, and measures the disk of the
temporary directory. Both sides commit at the same durability, in pairs in one run; the ratio is the median of those of
the pairs. The bare side inserts single rows, and groups by COPY in a transaction; it gets its checksums for nothing,
has no chain, no fence, and tells no follower.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import psycopg

from benchmarks.log.append import CALLERS, Figure, Figures, append_at_once, append_ours, some_lines
from comfy_fsm.log.postgres.address import Address
from comfy_fsm.log.postgres.reader import Reader

GROUPS = (1, 100, 1000)
COMMITS = 200
ROUNDS = 5
_BARE = """
    CREATE TABLE bare (
        log integer, position bigint, line bytea NOT NULL, checksum bytea NOT NULL, PRIMARY KEY (log, position)
    )
"""


def connect(address: str) -> psycopg.Connection:
    return psycopg.connect("", autocommit=True, **dict(Address.of(address).settings))


def append_bare(address: str, lines: list[bytes], group: int) -> float:
    table = [(1, position, line, b"c" * 16) for position, line in enumerate(lines, 1)]
    with connect(address) as db:
        db.execute("DROP TABLE IF EXISTS bare")
        db.execute(_BARE)
        start = perf_counter()
        for at in range(0, len(table), group):
            if group == 1:
                db.execute("INSERT INTO bare VALUES (%s, %s, %b, %b)", table[at])
                continue
            with db.transaction(), db.cursor().copy("COPY bare FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int4", "int8", "bytea", "bytea"])
                for row in table[at : at + group]:
                    copy.write_row(row)
        return perf_counter() - start


def select_bare(address: str, log: int) -> float:
    with connect(address) as db:
        start = perf_counter()
        select = "SELECT position, line, checksum FROM comfy_fsm.entries WHERE log = %s ORDER BY position"
        db.execute(select, (log,), binary=True).fetchall()
        return perf_counter() - start


def read_back(address: str) -> float:
    with Reader(Address.of(address)) as reader:
        reader.names()  # connected, as the bare side is
        start = perf_counter()
        for row in reader.read():
            assert row.damage is None
        return perf_counter() - start


def measure(address: str, count: int, rounds: int = ROUNDS) -> Figures:
    """Return the figures of the server at this address, whose logs `bench-…` are new."""
    lines, figures, database = some_lines(count), Figures(), Address.of(address)
    for group in GROUPS:
        some = lines[: COMMITS * group]
        pairs = (
            (
                append_ours(database.of_log(f"bench-{group}-{n}").whole(), some, group),
                append_bare(address, some, group),
            )
            for n in range(rounds)
        )
        figures.append(Figure.of(f"append, groups of {group:,}", len(some), pairs))
    pairs = (
        (
            append_at_once(database.of_log(f"bench-shared-{n}").whole(), lines, CALLERS),
            append_bare(address, lines, CALLERS),
        )
        for n in range(rounds)
    )
    figures.append(Figure.of(f"append, {CALLERS} callers (bare: of {CALLERS})", count, pairs))
    whole = database.of_log("bench-shared-0")
    with connect(address) as db:
        ((log,),) = db.execute("SELECT id FROM comfy_fsm.logs WHERE name = %s", (whole.name,)).fetchall()
    pairs = ((read_back(whole.whole()), select_bare(address, log)) for _ in range(rounds))
    figures.append(Figure.of("read back, checked", count, pairs))
    return figures


@contextmanager
def served(address: str | None) -> Iterator[str]:
    """Yield the address of a database: the given one, or that of a server of our own."""
    if address is not None:
        yield address
        return
    from tests.support.postgres import Postgres

    server = Postgres()
    try:
        server.fresh()
        yield server.address(None)
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="What a log in PostgreSQL costs beside bare psycopg.")
    parser.add_argument("address", nargs="?", help="postgresql://…/DATABASE; a server of our own if there is none")
    parser.add_argument("--rows", type=int, default=5_000, help="rows per figure (default: 5000)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="pairs, of which the median counts")
    chosen = parser.parse_args()
    with served(chosen.address) as address:
        print(*measure(address, chosen.rows, chosen.rounds).lines(), sep="\n")


if __name__ == "__main__":
    main()

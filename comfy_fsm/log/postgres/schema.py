"""Tables of the logs in a database, how they came to be, and the two roles that may use them."""

from __future__ import annotations

__all__ = ["KEY", "MIGRATE", "ROLES", "SCHEMA_VERSION"]

KEY = 0x6366736D  # "cfsm": the first half of every advisory lock of ours, the log's number is the second
SCHEMA_VERSION = 1

# No foreign key from `entries` to `logs`: entries are only ever inserted beside the update of their log, and the check
# would cost as much as the row. `logs` is updated in place at every commit, so its page keeps room for that.
_TABLES = """
    CREATE TABLE comfy_fsm.logs (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE,
        fence bigint NOT NULL DEFAULT 0,
        position bigint NOT NULL DEFAULT 0,
        checksum bytea NOT NULL,
        holder text NOT NULL DEFAULT ''
    ) WITH (fillfactor = 20);
    CREATE TABLE comfy_fsm.entries (
        log integer NOT NULL,
        position bigint NOT NULL,
        line bytea NOT NULL,
        checksum bytea NOT NULL,
        PRIMARY KEY (log, position)
    );
"""
_STEPS = (_TABLES,)
"""What leads from each version to the next; a release adds one, and changes none."""


def _step(version: int, change: str) -> str:
    return f"""  IF (SELECT version FROM comfy_fsm.schema) < {version} THEN{change}
    UPDATE comfy_fsm.schema SET version = {version};
  END IF;
"""


MIGRATE = f"""BEGIN;
SELECT pg_advisory_xact_lock({KEY}, 0);
CREATE SCHEMA IF NOT EXISTS comfy_fsm;
CREATE TABLE IF NOT EXISTS comfy_fsm.schema (version integer NOT NULL);
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM comfy_fsm.schema) THEN
    INSERT INTO comfy_fsm.schema VALUES (0);
  END IF;
{"".join(_step(version, change) for version, change in enumerate(_STEPS, 1))}END $$;
COMMIT;
"""
"""All of it in one transaction, from whatever version there is; does nothing where there is nothing to do."""

ROLES = """BEGIN;
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'comfy_fsm_writer') THEN
    CREATE ROLE comfy_fsm_writer NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'comfy_fsm_reader') THEN
    CREATE ROLE comfy_fsm_reader NOLOGIN;
  END IF;
END $$;
GRANT USAGE ON SCHEMA comfy_fsm TO comfy_fsm_writer, comfy_fsm_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA comfy_fsm TO comfy_fsm_writer, comfy_fsm_reader;
GRANT INSERT (name, checksum, holder), UPDATE (fence, position, checksum, holder) ON comfy_fsm.logs TO comfy_fsm_writer;
GRANT INSERT ON comfy_fsm.entries TO comfy_fsm_writer;
COMMIT;
"""
"""Who writes may insert entries, and change or delete none; who reads may only read."""

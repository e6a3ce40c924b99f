#!/usr/bin/env python3
"""Write a schema-1 client store, as an old version of the Python node left it.

    python legacy.py sqlite|sqlite-oldest|json DIR

DIR is the folder of the store itself ($XDG_DATA_HOME/hivemind-core); it is made
when missing, and a store that is already there is replaced. Only the standard
library is used: the current plugins would migrate what they touch.

  sqlite         DIR/clients.db, hivemind-sqlite-database 0.3: WAL, a crypto_key
                 column before password, metadata as the last column, no index
  sqlite-oldest  the same of 0.0.x: rollback journal, no metadata column
  json           DIR/clients.json, before the schema_version file existed

PRAGMA user_version stays 0, and there is no clients.schema_version: both mean
schema 1. The same seven clients in every kind, see CLIENTS; each exercises one
rule of the migration. `unknown` fields exist in the JSON kind only: a table has
nowhere to put them.
"""
import json
import os
import sqlite3
import sys

# what Client() of that time put into every whitelist it found empty
DEFAULT_TYPES = [
    "recognizer_loop:utterance", "recognizer_loop:record_begin",
    "recognizer_loop:record_end", "recognizer_loop:audio_output_start",
    "recognizer_loop:audio_output_end", "recognizer_loop:b64_transcribe",
    "speak:b64_audio", "ovos.common_play.SEI.get.response"]

# in the order of the fields of the old Client class
FIELDS = ("client_id", "api_key", "name", "description", "is_admin", "last_seen",
          "intent_blacklist", "skill_blacklist", "message_blacklist",
          "allowed_types", "crypto_key", "password",
          "can_broadcast", "can_escalate", "can_propagate", "metadata")
JSON_COLUMNS = ("intent_blacklist", "skill_blacklist", "message_blacklist",
                "allowed_types", "metadata")


def client(client_id, api_key, **given):
    record = dict.fromkeys(FIELDS)
    record.update(client_id=client_id, api_key=api_key, name="", description="",
                  is_admin=False, last_seen=-1, intent_blacklist=[],
                  skill_blacklist=[], message_blacklist=[],
                  allowed_types=list(DEFAULT_TYPES), can_broadcast=True,
                  can_escalate=True, can_propagate=True, metadata={})
    record.update(given)
    return record


CLIENTS = [
    # 1: nothing special; the old crypto_key and password
    client(1, "7f1c0a6e5b2d48c39e0f4a1b2c3d4e5f", name="HiveMind-Node-0",
           crypto_key="a1b2c3d4e5f60718", password="kettle-orbit-mango-29-lantern",
           last_seen=1718035200.25),
    # 2: text outside ASCII (and outside the BMP), an admin with a long whitelist
    client(2, "9d8e7c6b5a493827160f0e0d0c0b0a09", name="Küche 厨房 🐝",
           description="satellit \"unten\" \\ links\nzweite Zeile", is_admin=True,
           allowed_types=DEFAULT_TYPES + ["speak", "ovos.utterance.handle"],
           crypto_key="", password="Grüße-aus-dem-Süden-77", last_seen=1721900000.0,
           metadata={"raum": "Küche", "größe": 1.5, "tags": ["ä", None, True]}),
    # 3: all three blacklists; two move into metadata, message_blacklist goes
    client(3, "00112233445566778899aabbccddeeff", name="kitchen-pi",
           intent_blacklist=["skill-a:secret.intent", "skill-b:Übung"],
           skill_blacklist=["skill-shutdown.openvoiceos"],
           message_blacklist=["speak", "mycroft.stop"],
           crypto_key="0011223344556677", password="violet-anchor-tundra-51",
           can_broadcast=False, can_escalate=False),
    # 4: no password, no name; metadata wins over the columns, and carries a
    #    message_blacklist of an earlier migration
    client(4, "ffeeddccbbaa99887766554433221100", name=None, description=None,
           skill_blacklist=["from-column"], intent_blacklist=["kept:intent"],
           password=None, can_propagate=False,
           metadata={"skill_blacklist": ["from-metadata"],
                     "message_blacklist": ["old"], "noise_pubkey": "ab" * 32}),
    # 5: revoked; the old class refilled the whitelist of a revoked row too
    client(5, "revoked"),
    # 6: metadata that is not an object, a whitelist that was never written
    client(6, "c0ffee00c0ffee00c0ffee00c0ffee00", name="odd-metadata",
           metadata=["not", "an", "object"], allowed_types=[],
           password="granite-willow-saffron-63"),
    # 7: unknown fields of a fork; metadata wins over them as well
    client(7, "5eed5eed5eed5eed5eed5eed5eed5eed", name="fork",
           crypto_key="8899aabbccddeeff", password="cobalt-meadow-pickle-18",
           metadata={"site": "metadata wins", "intercom_pubkey": "cd" * 32}),
]
UNKNOWN = {7: {"site": "top level loses", "firmware": {"version": "0.3.1"},
               "tls_fingerprint": None}}


def write_sqlite(folder, oldest):
    path = os.path.join(folder, "clients.db")
    for suffix in ("", "-wal", "-shm", "-journal"):
        if os.path.exists(path + suffix):
            os.remove(path + suffix)
    fields = FIELDS[:-1] if oldest else FIELDS
    conn = sqlite3.connect(path)
    if not oldest:
        conn.execute("PRAGMA journal_mode=WAL")
    with conn:
        conn.execute("""
                CREATE TABLE IF NOT EXISTS clients (
                    client_id INTEGER PRIMARY KEY,
                    api_key VARCHAR(255) NOT NULL,
                    name VARCHAR(255),
                    description VARCHAR(255),
                    is_admin BOOLEAN DEFAULT FALSE,
                    last_seen REAL DEFAULT -1,
                    intent_blacklist TEXT,
                    skill_blacklist TEXT,
                    message_blacklist TEXT,
                    allowed_types TEXT,
                    crypto_key VARCHAR(16),
                    password TEXT,
                    can_broadcast BOOLEAN DEFAULT TRUE,
                    can_escalate BOOLEAN DEFAULT TRUE,
                    can_propagate BOOLEAN DEFAULT TRUE%s
                )
            """ % ("" if oldest else ",\n                    metadata TEXT"))
        for record in CLIENTS:
            conn.execute(
                "INSERT OR REPLACE INTO clients (%s) VALUES (%s)"
                % (", ".join(fields), ", ".join("?" * len(fields))),
                [json.dumps(record[f]) if f in JSON_COLUMNS else record[f]
                 for f in fields])
    conn.close()


def write_json(folder):
    sentinel = os.path.join(folder, "clients.schema_version")
    if os.path.exists(sentinel):
        os.remove(sentinel)
    records = {str(r["client_id"]): {**r, **UNKNOWN.get(r["client_id"], {})}
               for r in CLIENTS}
    with open(os.path.join(folder, "clients.json"), "w", encoding="utf-8") as f:
        json.dump(records, f, indent=4, ensure_ascii=False)


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("sqlite", "sqlite-oldest", "json"):
        sys.exit(__doc__.split("\n\n")[1].strip())
    kind, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    if kind == "json":
        write_json(folder)
    else:
        write_sqlite(folder, oldest=kind == "sqlite-oldest")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares two stores of clients, each a JSON file, an SQLite one or redis://HOST:PORT/PREFIX, by Python's own reading of them.

    same_clients.py FILE FILE [ID …]

Says nothing and ends with 0 if both have the same clients; the named IDs are to be revoked clients without data in the second.
"""
import json
import sqlite3
import sys

DEFAULTS = {"name": "", "description": "", "is_admin": False, "last_seen": -1.0, "allowed_types": [], "password": None,
            "can_broadcast": True, "can_escalate": True, "can_propagate": True, "metadata": {}}


def canonical(record):
    record = {**DEFAULTS, **record}
    record["last_seen"] = float(record["last_seen"])
    for name in ("is_admin", "can_broadcast", "can_escalate", "can_propagate"):
        if not isinstance(record[name], str):
            record[name] = bool(record[name])
    return json.dumps(record, sort_keys=True)


def in_redis(path):
    import redis
    place, prefix = path.removeprefix("redis://").split("/", 1)
    host, port = place.split(":")
    server = redis.Redis(host=host, port=int(port))
    keys = list(server.scan_iter(f"{prefix}:client:*", count=1000))
    found = {}
    for at in range(0, len(keys), 1000):
        part = keys[at:at + 1000]
        for key, text in zip(part, server.mget(part)):
            found[int(key.rsplit(b":", 1)[1])] = canonical(json.loads(text))
    return found


def clients(path):
    if path.startswith("redis://"):
        return in_redis(path)
    if path.endswith(".json"):
        with open(path, encoding="utf-8") as file:
            return {int(key): canonical(record) for key, record in json.load(file).items()}
    rows = sqlite3.connect(path)
    rows.row_factory = sqlite3.Row
    found = {}
    for row in rows.execute("SELECT * FROM clients"):
        record = {name: row[name] for name in ["client_id", "api_key", *DEFAULTS]}
        for name in ("allowed_types", "metadata"):
            record[name] = json.loads(record[name]) if record[name] is not None else DEFAULTS[name]
        found[row["client_id"]] = canonical(record)
    return found


first, second = clients(sys.argv[1]), clients(sys.argv[2])
for number in map(int, sys.argv[3:]):
    first[number] = canonical({"client_id": number, "api_key": "revoked"})
wrong = sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))
for key in wrong[:5]:
    print(f"client {key}:\n  {first.get(key)}\n  {second.get(key)}")
sys.exit(f"{len(wrong)} of {len(first)} differ" if wrong else 0)

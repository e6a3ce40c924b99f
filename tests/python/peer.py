#!/usr/bin/env python3
"""Drive the Python node's own database plugins, one JSON command per line.

Reads one JSON object per stdin line and writes one JSON reply per stdout line:
{"ok": result} or {"error": "Type: message"}. Logs go to stderr. A bad command
never ends the process; end of input does (exit status 0, nothing is committed).

The caller sets the environment. XDG_DATA_HOME picks the store, as for the real
program ($XDG_DATA_HOME/<subfolder>/<name>.<ext>); TMPDIR picks the folder of
the JSON plugin's lock file. XDG_CONFIG_HOME, XDG_STATE_HOME and XDG_CACHE_HOME
default to a throw-away folder, so that nothing is written to the user's home.

Every op takes an optional "db": the name of an open store, "main" by default.
A client is an object with the 12 fields of the Client class; numbers that JSON
does not have arrive as {"$float": "nan" | "inf" | "-inf"}. WHO is "id": N or
"key": "access key". "commit": false on a writing op leaves commit() out. The
JSON plugin reads its file at open and sync only, and re-reads it in commit;
the Redis plugin writes at once.

  open        kind: sqlite | json | redis -> {"path", "lock", "version": stored
              schema}. dir: sets XDG_DATA_HOME first; any other member (name,
              subfolder, password, db_path, host, port, index_prefix, ...) goes
              to the plugin's constructor
  close       drop the store without committing
  add         client: fields -> true. Client(**fields), then add_item
  add_client  name, key, admin, allowed_types, password, metadata -> the new
              client, as the node's add-client command does it (id = rows + 1)
  add_raw     record, written beneath the Client class -> true. sqlite: column
              -> value, INSERT OR REPLACE; json, redis: id: the key of the
              record (redis: without its indexes and counters)
  get_by_key  key -> client | null          get_by_id   id -> client | null
  search      field, value -> [client]      refresh     id -> client | null
  list        -> [client], with the revoked ones        len  -> rows
  set_field   WHO, fields -> client: read, assign, update_item
  checkout    WHO, as: label -> client: the read half of set_field
  checkin     as: label, fields -> client: the write half, any time later
  revoke      WHO -> true: the plugin's delete_item
  delete      key -> bool: the node's delete_client (look-up, then delete_item)
  commit      -> bool                       sync        re-read from disk;
              redis: rebuild indexes and counters
  lock        hold the write lock (sqlite: BEGIN IMMEDIATE; json: the file lock)
  unlock      let go of it, writing nothing
  raw         sqlite: sql, args -> rows as objects; json: the records in memory;
              redis: words -> the answer to that command
  versions    -> {package: version}, with SQLite's under "sqlite"
"""
import json
import math
import os
import sys
import tempfile

REPLY = os.fdopen(os.dup(1), "w", encoding="ascii")
os.dup2(2, 1)  # the libraries log to stdout
_SCRATCH = tempfile.TemporaryDirectory()
for _var in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
    os.environ.setdefault(_var, _SCRATCH.name)

import sqlite3  # noqa: E402
from importlib.metadata import version  # noqa: E402

from hivemind_core.database import ClientDatabase  # noqa: E402
from hivemind_plugin_manager.database import Client  # noqa: E402

MODULES = {kind: f"hivemind-{kind}-db-plugin" for kind in ("sqlite", "json", "redis")}
PACKAGES = ("hivemind-core", "hivemind-plugin-manager", "hivemind-sqlite-database",
            "hivemind-json-db-plugin", "json-database", "hivemind-redis-database",
            "redis")


class Store:
    """One open store: the node's ClientDatabase around one plugin."""

    def __init__(self, cmd):
        if "dir" in cmd:
            os.environ["XDG_DATA_HOME"] = os.path.abspath(cmd["dir"])
        self.kind = cmd["kind"]
        module = MODULES[self.kind]
        options = {k: v for k, v in cmd.items() if k not in ("op", "db", "kind", "dir")}
        self.core = ClientDatabase(config={"module": module, module: options})
        self.plugin = self.core.db
        self.held = {}

    def describe(self):
        p = self.plugin
        if self.kind == "redis":
            return {"path": None, "lock": None,
                    "version": int(p.redis.get(p._schema_version_key()) or 1)}
        if self.kind == "sqlite":
            return {"path": p._db_path, "lock": None,
                    "version": p.conn.execute("PRAGMA user_version").fetchone()[0]}
        return {"path": p._db.path, "lock": str(p._db.lock.path),
                "version": p._read_schema_version()}

    def find(self, cmd):
        client = (self.core.get_client_by_id(cmd["id"]) if "id" in cmd
                  else self.core.get_client_by_api_key(cmd["key"]))
        if client is None:
            raise LookupError("no such client")
        return client

    def write(self, cmd, client, fields):
        for name, value in fields.items():
            client[name] = value
        self.done({"commit": False}, self.plugin.update_item(client))
        return self.done(cmd, client)

    def done(self, cmd, result):
        if result is False:
            raise RuntimeError("the plugin refused")
        if cmd.get("commit", True) and not self.plugin.commit():
            raise RuntimeError("commit failed")
        return result

    def add_raw(self, cmd):
        record = cmd["record"]
        if self.kind == "redis":
            return bool(self.plugin.redis.set(self.plugin._client_key(cmd["id"]),
                                              json.dumps(record)))
        if self.kind == "json":
            self.plugin._baseline[str(cmd["id"])] = None  # no merge: as it is
            self.plugin._db[str(cmd["id"])] = record
            self.plugin._dirty.add(str(cmd["id"]))
            return True
        columns, marks = ", ".join(record), ", ".join("?" * len(record))
        with self.plugin.conn:
            self.plugin.conn.execute(
                f"INSERT OR REPLACE INTO clients ({columns}) VALUES ({marks})",
                list(record.values()))
        return True

    def lock(self, take):
        if self.kind == "redis":
            raise LookupError("there is no lock")
        if self.kind == "json":
            (self.plugin._db.lock.acquire if take else self.plugin._db.lock.release)()
        else:
            self.plugin.conn.execute("BEGIN IMMEDIATE" if take else "ROLLBACK")

    def list(self):
        if self.kind != "redis":
            return list(self.core)
        # its own iteration leaves the revoked out
        keys = sorted(self.plugin.redis.scan_iter(self.plugin._scan_pattern("client")),
                      key=lambda key: int(key.rsplit(":", 1)[1]))
        return self.plugin._load_clients(keys, include_revoked=True)

    def raw(self, cmd):
        if self.kind == "redis":
            return self.plugin.redis.execute_command(*cmd["words"])
        if self.kind == "json":
            return dict(self.plugin._db)
        with self.plugin.conn:
            rows = self.plugin.conn.execute(cmd["sql"], cmd.get("args", []))
            return [dict(row) for row in rows.fetchall()]


def run(stores, cmd):
    op, name = cmd["op"], cmd.get("db", "main")
    if op == "versions":
        return {"sqlite": sqlite3.sqlite_version, **{p: version(p) for p in PACKAGES}}
    if op == "open":
        stores[name] = Store(cmd)
        return stores[name].describe()
    store = stores[name]
    plugin, core = store.plugin, store.core
    if op == "close":
        del stores[name]
        return plugin.close() if store.kind == "sqlite" else None
    if op == "add_client":
        given = {k: v for k, v in cmd.items() if k not in ("op", "db", "commit")}
        store.done(cmd, core.add_client(**given))
        return core.get_client_by_api_key(cmd["key"])
    if op == "checkout":
        store.held[cmd["as"]] = store.find(cmd)
        return store.held[cmd["as"]]
    return {
        "add": lambda: store.done(cmd, plugin.add_item(Client(**cmd["client"]))),
        "add_raw": lambda: store.done(cmd, store.add_raw(cmd)),
        "get_by_key": lambda: core.get_client_by_api_key(cmd["key"]),
        "get_by_id": lambda: core.get_client_by_id(cmd["id"]),
        "search": lambda: plugin.search_by_value(cmd["field"], cmd["value"]),
        "refresh": lambda: core.refresh(cmd["id"]),
        "list": store.list,
        "len": core.total_clients,
        "set_field": lambda: store.write(cmd, store.find(cmd), cmd["fields"]),
        "checkin": lambda: store.write(cmd, store.held.pop(cmd["as"]), cmd["fields"]),
        "revoke": lambda: store.done(cmd, plugin.delete_item(store.find(cmd))),
        "delete": lambda: core.delete_client(cmd["key"]) and store.done(cmd, True),
        "commit": plugin.commit,
        "sync": lambda: store.done({"commit": False}, plugin.sync()),
        "lock": lambda: store.lock(True),
        "unlock": lambda: store.lock(False),
        "raw": lambda: store.raw(cmd),
    }[op]()


def plain(value):
    """Turn a result into what strict JSON can say."""
    value = value.__dict__ if isinstance(value, Client) else value
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def main():
    stores = {}
    for line in filter(str.strip, sys.stdin):
        try:
            reply = json.dumps({"ok": plain(run(stores, json.loads(line)))})
        except (Exception, SystemExit) as e:
            reply = json.dumps({"error": f"{type(e).__name__}: {e}"})
        REPLY.write(reply + "\n")
        REPLY.flush()


if __name__ == "__main__":
    main()

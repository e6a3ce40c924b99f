"""Do what the benches ask with the Python node's plugin, and time it.

usage: peer.py sqlite|json, with XDG_DATA_HOME set. Once the store is open, one
line says how many bytes of memory that took: {"resident": bytes}. Then each
line on stdin is {"do": what, "keys": [access key, ...]}, and each answer the
nanoseconds that all keys took together: {"ns": nanoseconds}.

  look_up   get_client_by_api_key
  touch     look up, change last_seen, update_item, commit
"""
import gc
import json
import logging
import os
import sys
import time

reply = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # the libraries log to stdout
logging.disable(logging.CRITICAL)

from hivemind_core.database import ClientDatabase  # noqa: E402


def resident():
    with open("/proc/self/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))


def look_up(key):
    client = database.get_client_by_api_key(key)
    if client is None:
        sys.exit(f"no client {key}")
    return client


def touch(key):
    client = look_up(key)
    client.last_seen = time.time()
    if not database.db.update_item(client) or not database.db.commit():
        sys.exit(f"client {key} was not written")


module = {"sqlite": "hivemind-sqlite-db-plugin", "json": "hivemind-json-db-plugin"}[sys.argv[1]]
gc.collect()
before = resident()
database = ClientDatabase(config={"module": module, module: {}})
gc.collect()
print(json.dumps({"resident": resident() - before}), file=reply, flush=True)

for line in sys.stdin:
    request = json.loads(line)
    do = {"look_up": look_up, "touch": touch}[request["do"]]
    start = time.perf_counter_ns()
    for key in request["keys"]:
        do(key)
    print(json.dumps({"ns": time.perf_counter_ns() - start}), file=reply, flush=True)

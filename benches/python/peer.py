"""Do what the benches ask with the Python node's plugin, and time it.

usage: peer.py sqlite|json|redis SETTINGS-JSON, with XDG_DATA_HOME set. The
settings go to the plugin's constructor. Once the store is open, one line says how many bytes of memory that took: {"resident": bytes}. Then each
line on stdin is {"do": what, "keys": [access key, ...]}, and each answer the
nanoseconds that all keys took together: {"ns": nanoseconds}.

  look_up   get_client_by_api_key
  touch     look up, change last_seen, update_item, commit

and of the Redis plugin

  look_up_cold   look_up of a client that has no admission record
  look_up_warm   look_up of one that has
  add            add_item of a new client
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
from hivemind_plugin_manager.database import Client  # noqa: E402


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


def add(key):
    client = Client(client_id=len(database.db) + 1, api_key=key, name=f"satellite {key}", password=key,
                    allowed_types=["recognizer_loop:utterance", "speak:b64_audio"],
                    metadata={"room": "a room", "noise_pubkey": key + key})
    return lambda: database.db.add_item(client) or sys.exit(f"client {key} was not added")


def cold(key):
    database.db.redis.delete(database.db._api_key_record_key(key))
    return lambda: look_up(key)


def warm(key):
    look_up(key)
    return lambda: look_up(key)


def timed(prepare, keys):
    """What is prepared for each key is not part of the time."""
    total = 0
    for key in keys:
        do = prepare(key)
        start = time.perf_counter_ns()
        do()
        total += time.perf_counter_ns() - start
    return total


def timed_together(do, keys):
    start = time.perf_counter_ns()
    for key in keys:
        do(key)
    return time.perf_counter_ns() - start


module = f"hivemind-{sys.argv[1]}-db-plugin"
gc.collect()
before = resident()
database = ClientDatabase(config={"module": module, module: json.loads(sys.argv[2])})
gc.collect()
print(json.dumps({"resident": resident() - before}), file=reply, flush=True)

for line in sys.stdin:
    request = json.loads(line)
    what, keys = request["do"], request["keys"]
    prepared = {"look_up_cold": cold, "look_up_warm": warm, "add": add}.get(what)
    taken = timed(prepared, keys) if prepared else timed_together({"look_up": look_up, "touch": touch}[what], keys)
    print(json.dumps({"ns": taken}), file=reply, flush=True)

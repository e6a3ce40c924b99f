"""Look clients up by access key with the Python node's plugin and time it.

usage: lookup.py sqlite|json, with XDG_DATA_HOME set. Each line on stdin is a
JSON list of access keys; the answer is the nanoseconds that looking all of
them up took.
"""
import json
import logging
import os
import sys
import time

reply = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # the libraries log to stdout
logging.disable(logging.CRITICAL)

from hivemind_core.database import ClientDatabase  # noqa: E402

module = {"sqlite": "hivemind-sqlite-db-plugin", "json": "hivemind-json-db-plugin"}[sys.argv[1]]
database = ClientDatabase(config={"module": module, module: {}})

for line in sys.stdin:
    keys = json.loads(line)
    start = time.perf_counter_ns()
    for key in keys:
        if database.get_client_by_api_key(key) is None:
            sys.exit(f"no client {key}")
    print(time.perf_counter_ns() - start, file=reply, flush=True)

#!/usr/bin/env python3
"""The Python node's own command, with a Redis server on another port: its migrate-db takes no settings.

    migrate.py PORT migrate-db --from … --to …
"""
import functools
import sys

import hivemind_redis_database

port = int(sys.argv.pop(1))
database = hivemind_redis_database.RedisDB
database.__init__ = functools.partialmethod(database.__init__, port=port)

from hivemind_core.scripts import hmcore_cmds  # noqa: E402

hmcore_cmds()

#!/usr/bin/env python3
"""Drive stock HiveMind satellites, one JSON command per line.

The clients are hivemind_bus_client's own, unmodified: what happens to them is
only written down. Reads one JSON object per stdin line and writes one reply per
stdout line: {"ok": result} or {"error": "Type: message"}. Logs go to stderr. A
bad command never ends the process; end of input does.

Every op takes an optional "as": the name of a satellite, "main" by default.
"seconds" is how long a waiting op waits before it is an error.

  connect   host, port, key, password, identity: folder (of _identity.json and
            the Noise key; one per device), useragent, site_id, session_id,
            tls: bool, cert: [certificate, key] to show -> {"outcome": "up",
            "pattern", "session_id", "node_id"} once the session is up as the
            client sees it, or {"outcome": "refused", "reason"} once it gave up
            for ever, or {"outcome": "ended", "code", "reason"} when a
            connection ended and it would try again (code null: none was given).
            It goes on reconnecting behind that, as it does in the field
  send      type, data, context -> true: a bus message, as an application does
  fill      type, bytes -> true: a bus message whose data holds so much text
  emit      msg_type, payload, metadata, target_site_id -> true: any other
            envelope; a payload with a "msg_type" is an envelope itself
  intercom  type, data, context -> the public key it is for: a bus message, sealed
            for all of these satellites, who have one RSA key
  unseal    payload of an INTERCOM -> the envelope in it
  binary    bytes, kind -> true: a binary message of that length
  wait      type -> the first bus message of that type it was sent: the whole
            envelope, which is then forgotten. measure: true gives the length of
            data.text in its place
  envelope  msg_type -> the first other envelope of that type, forgotten then
  heard     -> every envelope that was not waited for, and forgets them
  up        -> waits until a session is up again
  end       -> {"code", "reason"} of the next end of a connection
  close     for good
  swarm     the members of connect, with clients: [[key, password]...],
            identity: a folder for all, psks: {node_id: what is derived from
            the password} -> the outcomes, all connected at once
  ask_all   type, reply -> [the data of each one's answer]: each of the swarm
            sends {"number": n} and waits for the reply
"""
import json
import os
import shutil
import sys
import tempfile
import threading
import time

REPLY = os.fdopen(os.dup(1), "w", encoding="ascii")
os.dup2(2, 1)  # the libraries log to stdout
_SCRATCH = tempfile.TemporaryDirectory()
for _var in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
    os.environ.setdefault(_var, _SCRATCH.name)

from hivemind_bus_client.client import HiveMessageBusClient  # noqa: E402
from hivemind_bus_client.encryption import hybrid_decrypt  # noqa: E402
from hivemind_bus_client.fakebus import FakeBus  # noqa: E402
from hivemind_bus_client.identity import NodeIdentity  # noqa: E402
from hivemind_bus_client.message import HiveMessage, HiveMessageType  # noqa: E402
from hivemind_bus_client.noise import save_cached_psk  # noqa: E402
from hivemind_bus_client.serialization import HiveMindBinaryPayloadType  # noqa: E402
from json_database import JsonStorage  # noqa: E402
from ovos_bus_client import Message  # noqa: E402
from ovos_bus_client.session import Session  # noqa: E402
from poorman_handshake.asymmetric.utils import load_RSA_key  # noqa: E402


class Diary:
    """What happened, in order, to be waited for."""

    def __init__(self):
        self.entries = []
        self.changed = threading.Condition()

    def write(self, what, value=None):
        with self.changed:
            self.entries.append((what, value))
            self.changed.notify_all()

    def take(self, wanted, seconds):
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                for at, entry in enumerate(self.entries):
                    if wanted(entry):
                        return self.entries.pop(at)
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"not after {seconds} s; heard: {str(self.entries)[:2000]}")
                self.changed.wait(left)


class Announced(threading.Event):
    """An event that is written down when it is set."""

    def __init__(self, diary):
        super().__init__()
        self.diary = diary

    def set(self):
        news = not self.is_set()
        super().set()
        if news:
            self.diary.write("up")


class Satellite(HiveMessageBusClient):
    """The stock client with a diary."""

    def __init__(self, cmd):
        self.diary = Diary()
        self.shown = cmd.get("cert")
        self.bus = FakeBus()
        folder = cmd["identity"]
        os.makedirs(folder, exist_ok=True)
        rsa = os.path.join(folder, "unnamed-node.pem")
        if "SATELLITE_RSA_KEY" in os.environ and not os.path.exists(rsa):
            shutil.copyfile(os.environ["SATELLITE_RSA_KEY"], rsa)
        scheme = "wss://" if cmd.get("tls") else ""
        super().__init__(key=cmd["key"], password=cmd["password"], host=scheme + cmd["host"], port=cmd["port"],
                         useragent=cmd.get("useragent", "satellite"),
                         identity=NodeIdentity(JsonStorage(os.path.join(folder, "_identity.json"))))
        self.handshake_event = Announced(self.diary)
        self.emitter.on("message", self.hear)
        self.emitter.on("auth_rejected", lambda reason: self.diary.write("refused", reason))
        if "session_id" in cmd:
            self.session_id = cmd["session_id"]
        threading.Thread(target=self.start, args=(cmd.get("site_id"),), daemon=True).start()

    def start(self, site_id):
        try:
            self.connect(bus=self.bus, site_id=site_id)
        except ConnectionRefusedError:
            pass  # written down where it was noticed

    def wait_for_handshake(self, timeout=5, max_retries=None):
        # On a machine that derives for longer than this the client would begin once more on the same connection,
        # which ends the session that it gets.
        super().wait_for_handshake(timeout=100, max_retries=max_retries)

    def hear(self, text):
        self.diary.write("heard", json.loads(text))

    def create_client(self):
        app = super().create_client()
        if self.shown:
            run = app.run_forever
            cert, key = self.shown

            def run_forever(**options):
                options.setdefault("sslopt", {}).update(certfile=cert, keyfile=key)
                return run(**options)
            app.run_forever = run_forever
        return app

    def on_close(self, *args):
        code, reason = (args[1:] + (None, None))[:2]
        super().on_close(*args)
        self.diary.write("end", {"code": code, "reason": reason})

    def outcome(self, seconds):
        what, value = self.diary.take(lambda entry: entry[0] in ("up", "refused", "end"), seconds)
        if what == "up":
            protocol = self.protocol
            return {"outcome": "up", "pattern": protocol._noise_pattern, "session_id": self.session_id,
                    "node_id": protocol.internal_protocol.node_id}
        if what == "refused":
            return {"outcome": "refused", "reason": value}
        if self._auth_rejected:
            return {"outcome": "refused", "reason": self._auth_rejected}
        return {"outcome": "ended", **value}


def text(length):
    """Not compressible to nothing, and every part of it different."""
    block = "".join(f"{n:07d} " for n in range(length // 8 + 1))
    return block[:length]


def is_bus(kind):
    def wanted(entry):
        what, envelope = entry
        return what == "heard" and envelope["msg_type"] == "bus" and envelope["payload"].get("type") == kind
    return wanted


def bus_message(cmd, data):
    return Message(cmd["type"], data, dict(cmd.get("context") or {}))


def swarm(satellites, cmd):
    names = []
    for number, (key, password) in enumerate(cmd["clients"]):
        name = f"swarm-{number}"
        identity = os.path.join(cmd["identity"], name)
        for node_id, psk in cmd["psks"].items():
            save_cached_psk(os.path.join(identity, "unnamed-node_noise.key"), node_id, bytes.fromhex(psk), key)
        satellites[name] = Satellite({**cmd, "key": key, "password": password, "identity": identity})
        names.append(name)
    return [satellites[name].outcome(cmd["seconds"])["outcome"] for name in names]


def ask_all(satellites, cmd):
    members = [satellites[name] for name in satellites if name.startswith("swarm-")]
    for number, satellite in enumerate(members):
        satellite.emit_mycroft(bus_message(cmd, {"number": number}))
    answers = []
    for satellite in members:
        answers.append(satellite.diary.take(is_bus(cmd["reply"]), cmd["seconds"])[1]["payload"]["data"])
    return answers


def wait(satellite, cmd):
    envelope = satellite.diary.take(is_bus(cmd["type"]), cmd["seconds"])[1]
    if not cmd.get("measure"):
        return envelope
    found = envelope["payload"]["data"]["text"]
    return {"length": len(found), "whole": found == text(len(found))}


def emit(satellite, cmd):
    payload = cmd["payload"]
    if "msg_type" in payload:
        payload = HiveMessage(payload["msg_type"], payload["payload"])
    more = {name: cmd[name] for name in ("metadata", "target_site_id") if name in cmd}
    satellite.emit(HiveMessage(cmd["msg_type"], payload, **more))
    return True


def intercom(satellite, cmd):
    message = HiveMessage(HiveMessageType.BUS, bus_message(cmd, cmd.get("data") or {}))
    pubkey = load_RSA_key(satellite.identity.private_key).publickey().export_key().decode()
    satellite.emit_intercom(message, pubkey)
    return pubkey


def run(satellites, cmd):
    op, name = cmd["op"], cmd.get("as", "main")
    cmd.setdefault("seconds", 100)
    if op == "swarm":
        return swarm(satellites, cmd)
    if op == "ask_all":
        return ask_all(satellites, cmd)
    if op == "connect":
        if name in satellites:
            satellites.pop(name).close()
        satellites[name] = Satellite(cmd)
        return satellites[name].outcome(cmd["seconds"])
    satellite = satellites[name]
    seconds = cmd["seconds"]
    return {
        "send": lambda: satellite.emit_mycroft(bus_message(cmd, cmd.get("data") or {})) or True,
        "fill": lambda: satellite.emit_mycroft(bus_message(cmd, {"text": text(cmd["bytes"])})) or True,
        "emit": lambda: emit(satellite, cmd),
        "intercom": lambda: intercom(satellite, cmd),
        "unseal": lambda: json.loads(hybrid_decrypt(load_RSA_key(satellite.identity.private_key), cmd["payload"])),
        "binary": lambda: satellite.emit(HiveMessage(HiveMessageType.BINARY, bytes(cmd["bytes"]),
                                                     bin_type=HiveMindBinaryPayloadType(cmd["kind"]))) or True,
        "wait": lambda: wait(satellite, cmd),
        "envelope": lambda: satellite.diary.take(
            lambda e: e[0] == "heard" and e[1]["msg_type"] == cmd["msg_type"], seconds)[1],
        "heard": lambda: heard(satellite),
        "up": lambda: satellite.diary.take(lambda entry: entry[0] == "up", seconds) and True,
        "end": lambda: satellite.diary.take(lambda entry: entry[0] == "end", seconds)[1],
        "close": lambda: satellites.pop(name).close() or True,
    }[op]()


def heard(satellite):
    with satellite.diary.changed:
        found = [value for what, value in satellite.diary.entries if what == "heard"]
        satellite.diary.entries = [entry for entry in satellite.diary.entries if entry[0] != "heard"]
        return [envelope for envelope in found if envelope["msg_type"] not in ("hello", "shake")]


def main():
    satellites = {}
    for line in filter(str.strip, sys.stdin):
        try:
            reply = json.dumps({"ok": run(satellites, json.loads(line))})
        except (Exception, SystemExit) as e:
            reply = json.dumps({"error": f"{type(e).__name__}: {e}"})
        REPLY.write(reply + "\n")
        REPLY.flush()
    REPLY.flush()
    os._exit(0)  # its clients' threads go on for ever


if __name__ == "__main__":
    main()

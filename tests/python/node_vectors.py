#!/usr/bin/env python3
"""What the Python node does with messages: the vectors of node/tests/golden.rs.

    python node_vectors.py < node/testdata/vectors.json > new.json

Reads cases and writes them with what came of them anew. A case has clients (records
with a connection each), the policy chain, a HELLO for each connection, whether
the agent's bus is up, and steps in their order: a message
"from" a connection (by its place), or a text "bus" frame of the agent's.
Added to each case: "agent", the messages on the agent's bus; "sent", what each
connection was sent; "closed", with which code and reason each was closed, if it
was. Sessions of HELLOs are replaced by what the Python node makes of them,
which fills in what is configured where it runs.

Connections are the node's own class. Where its Noise session would be is
something that keeps the plaintext, and where the messagebus would be something
that keeps what is emitted; the records come from a dictionary, because what is
compared lies above both.
"""
import json
import os
import sys
import tempfile
import threading
import time

REPLY = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # the libraries log to stdout
_SCRATCH = tempfile.TemporaryDirectory()
for _var in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
    os.environ[_var] = _SCRATCH.name

from hivemind_bus_client.identity import NodeIdentity  # noqa: E402
from hivemind_bus_client.message import HiveMessage  # noqa: E402
from hivemind_core.policy import PolicyChain  # noqa: E402
from hivemind_core.protocol import HiveMindClientConnection, HiveMindListenerProtocol  # noqa: E402
from hivemind_ovos_agent_plugin import OVOSAgentProtocol  # noqa: E402
from hivemind_ovos_agent_plugin.policy import OVOSAgentPolicy  # noqa: E402
from hivemind_plugin_manager.database import Client  # noqa: E402
from ovos_bus_client.message import Message  # noqa: E402
from ovos_bus_client.session import Session  # noqa: E402


class Bus:
    """Keeps what is emitted."""

    def __init__(self, up):
        self.up = up
        self.emitted = []

    def emit(self, message):
        if not self.up:
            raise ConnectionError("OVOS messagebus is not connected")
        self.emitted.append(json.loads(message.serialize()))

    def on(self, *_):
        pass

    def remove(self, *_):
        pass


class Agent(OVOSAgentProtocol):
    """The agent of the OVOS plugin, with a bus that may be away."""

    def get_bus(self, client=None):
        if not self.bus.up:
            raise ConnectionError("OVOS messagebus is not connected")
        return self.bus


class Database:
    """Records by key and by id."""

    def __init__(self, records):
        self.records = records
        self.broken = False

    def get_client_by_api_key(self, key):
        if self.broken:
            raise RuntimeError("the database cannot be read")
        return next((c for c in self.records if c.api_key == key), None)

    def refresh(self, client_id):
        if self.broken:
            raise RuntimeError("the database cannot be read")
        return next((c for c in self.records if c.client_id == client_id), None)

    def update_item(self, client):
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


class Noise:
    """Keeps what would be sealed."""

    def __init__(self, sent):
        self.sent = sent

    def send_message(self, payload, _send):
        message = json.loads(payload)
        if message["msg_type"] == "propagate" and "public_key" in message["payload"].get("payload", {}):
            message["payload"]["payload"]["timestamp"] = 0  # now
        self.sent.append(message)


class Handshake:
    pubkey = None


def completed(hello):
    if isinstance(hello.get("session"), dict):
        hello["session"] = Session.deserialize(hello["session"]).serialize()
    return hello


def run(node_id, case):
    clients = [Client(**record) for record in case["clients"]]
    identity = NodeIdentity.__new__(NodeIdentity)
    identity.__dict__["IDENTITY_FILE"] = type("File", (dict,), {"path": _SCRATCH.name})(
        public_key=node_id, site_id=case.get("site_id"))
    bus = Bus(case.get("bus_up", True))
    protocol = HiveMindListenerProtocol(
        agent_protocol=Agent(bus=bus),
        identity=identity,
        db=Database(list(clients)))
    chain = [OVOSAgentPolicy(hm_protocol=protocol)] if "ovos" in case["chain"] else []
    protocol.policy_chain = protocol._with_builtin_policies(PolicyChain(policies=chain))

    connections, sent, closed = [], [], []
    for at, record in enumerate(clients):
        sent.append([])
        closed.append(None)
        connection = HiveMindClientConnection(
            key=record.api_key,
            send_msg=lambda *_: None,
            disconnect=lambda code=None, reason=None, at=at: closed.__setitem__(at, [code, reason]),
            name=f"{case.get('user_agent', 'ua')}::{record.client_id}::{record.name}",
            handshake=Handshake(),
            allowed_types=record.allowed_types, can_broadcast=record.can_broadcast, can_escalate=record.can_escalate,
            can_propagate=record.can_propagate, is_admin=record.is_admin, hm_protocol=protocol)
        connection.noise_transport = Noise(sent[at])
        connections.append(connection)
        hello = completed(case["hellos"][at])
        protocol.handle_message(HiveMessage("hello", hello), connection)

    for step in case["steps"]:
        if "database" in step:
            # What the connections remember of their records is forgotten, as it would be after five seconds.
            protocol.db.broken = step["database"] == "broken"
            protocol.db.records = [c for c in clients if c.client_id not in step.get("revoked", [])]
            for connection in connections:
                connection.invalidate_user()
            continue
        if "bus" in step:
            # As the plugin registers them: the one for its type first, then the one for everything.
            if step["bus"]["type"] == "hive.send.downstream":
                protocol.agent_protocol.handle_send(Message.deserialize(step["bus"]))
            protocol.agent_protocol.handle_internal_mycroft(json.dumps(step["bus"]))
            continue
        connection = connections[step["from"]]
        if step["message"]["msg_type"] == "hello":
            completed(step["message"]["payload"])
        protocol.handle_message(HiveMessage(**json.loads(json.dumps(step["message"]))), connection)
        # Questions are answered by other threads.
        end = time.monotonic() + 60
        while protocol._query_in_flight and time.monotonic() < end:
            time.sleep(0.005)
    case.update(agent=bus.emitted, sent=sent, closed=closed)
    return case


def lines(case):
    """A case with each message on a line of its own, so that a difference can be read."""
    def member(name):
        value = case[name]
        if name == "sent":
            each = ",\n".join(f"   [{block(items, 4)}]" for items in value)
            return f"  {dump(name)}: [\n{each}]"
        if name in ("clients", "hellos", "steps", "agent"):
            return f"  {dump(name)}: [{block(value, 3)}]"
        return f"  {dump(name)}: {dump(value)}"

    def block(items, indent):
        pad = "\n" + " " * indent
        return pad + ("," + pad).join(map(dump, items)) if items else ""
    return " {\n" + ",\n".join(map(member, case)) + "}"


def dump(value):
    return json.dumps(value, ensure_ascii=False)


def main():
    given = json.load(sys.stdin)
    cases = ",\n".join(lines(run(given["node_id"], case)) for case in given["cases"])
    REPLY.write(f'{{"about": {dump(given["about"])},\n"node_id": {dump(given["node_id"])},\n"cases": [\n{cases}\n]}}\n')
    REPLY.flush()
    os._exit(0)


main()

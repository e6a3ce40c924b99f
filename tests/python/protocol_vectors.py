#!/usr/bin/env python3
"""Write what the Python packages make of fixed inputs, for the tests of `protocol/`.

    python protocol_vectors.py FILE

Every key is fixed, so the file is the same each time; `tests/tests/protocol_vectors.rs`
compares it with the one that is kept in protocol/testdata/.

  canonical   payloads, and the bytes of hivemind_bus_client.noise.canonical_json
  psks        passwords and node ids, the PSK and what a kept PSK is bound to
  handshakes  whole handshakes of both patterns and suites: the payloads of every
              HANDSHAKE, then messages of both directions as they are sealed
  envelopes   texts, and whether HiveMessage(**json.loads(text)) takes them
  buses       payloads, and whether Message takes them
  frames      WIRE-1 frames, and what decode_bitstring makes of them
"""
import hashlib
import json
import math
import os
import sys
import types

from hivemind_bus_client.message import HiveMessage, HiveMessageType
from hivemind_bus_client.noise import (NOISE_PATTERN_KK, NOISE_PATTERNS, NOISE_SUITES,
                                       NoiseTransport, build_prologue, canonical_json,
                                       noise_protocol_name, start_noise_handshake)
from hivemind_bus_client.serialization import decode_bitstring, get_bitstring
from hivemind_core.protocol import HiveMindListenerProtocol
from noise.backends.default.keypairs import KeyPair25519
from ovos_bus_client.message import Message
from poorman_handshake.noise import derive_psk

NODE_ID = "-----BEGIN PUBLIC KEY-----\nMIIB…\n-----END PUBLIC KEY-----"
PASSWORD = "kettle-orbit-mango-29-lantern"


def canonical():
    texts = [
        "null", "true", "[]", "{}", "[ 1 , 2 ]", '{"b": 1, "a": {"d": [], "c": null}}',
        '{"Z": 1, "a": 2, "A": 3, "_": 4, "é": 5, "厨房": 6}',
        # by code points, not by UTF-16
        '{"\uffff": 1, "\U00010000": 2, "\\ud83d\\udc1d": 3, "\ue000": 4}',
        '{"a": 1, "a": 2, "b": 3, "\\u0061": 4}',
        json.dumps({"all": "".join(map(chr, range(0x80)))}),
        json.dumps({"lines": "\u2028\u2029\x85\xa0\ufeff"}),
        json.dumps({"lines": "\u2028\u2029\x85\xa0\ufeff"}, ensure_ascii=False),
        '{"slash": "\\/", "quote": "\\"", "back": "\\\\", "\\n": "\\u000a"}',
        "[0, -0, 1, -1, 9007199254740993, 123456789012345678901234567890]",
        "[0.0, -0.0, 1.0, 1e0, 1E5, 1e15, 1e16, 1e17, 123456789012345678.0, 0.1, 1e-4, 1e-5, 0.00001234]",
        "[1e22, 1.5e300, 2.5e-300, 5e-324, 1e400, -1e400, 1e-400, 9999999999999998.0, 0.30000000000000004]",
        "[NaN, Infinity, -Infinity]",
    ]
    for value in (1 / 3, math.pi * 1e20, 2.0 ** 53, 1e21 / 7, 4.35, 1e15 + 0.3):
        texts.append(json.dumps([value]))
    return [{"json": text, "canonical": canonical_json(json.loads(text)).decode()} for text in texts]


def psks():
    pairs = [(PASSWORD, NODE_ID), ("pässwörd \U0001f41d", "node"), ("", ""), ("a\x00b", "x" * 600)]
    binding = HiveMindListenerProtocol._noise_psk_binding
    return [{"password": password, "node_id": node_id, "psk": derive_psk(password, node_id).hex(),
             "binding": binding(types.SimpleNamespace(_node_id=node_id), password.encode())}
            for password, node_id in pairs]


def key(seed):
    return KeyPair25519.from_private_bytes(hashlib.sha256(seed.encode()).digest())


def messages():
    """(direction, body): short, empty, at the limit of a chunk, over it, long."""
    for size in (2, 64999, 65000, 65001, 130000, 130001):
        yield "up", '"' + "a" * (size - 2) + '"'
    yield "down", "{}"
    yield "up", bytes(range(256))
    yield "down", b""
    yield "down", bytes(200000)
    yield "up", '"küche"'


def handshake(folder, pattern, suite):
    hello = {"pubkey": None, "peer": "tracer::1::Küche::373f78a6", "node_id": NODE_ID}
    offer = {"max_protocol_version": 3, "binarize": False, "encodings": ["JSON-B64"], "ciphers": [],
             "noise": {"patterns": NOISE_PATTERNS, "suites": NOISE_SUITES}}
    keys = {name: key(name) for name in ("satellite", "node", "satellite ephemeral", "node ephemeral")}
    prologue = build_prologue(hello, offer, noise_protocol_name(pattern, suite))
    psk = derive_psk(PASSWORD, NODE_ID)

    def side(name, other):
        path = os.path.join(folder, name)
        with open(path, "w") as file:
            file.write(hashlib.sha256(name.encode()).hexdigest())
        remote = keys[other].public_bytes.hex() if pattern == NOISE_PATTERN_KK else None
        made = start_noise_handshake(initiator=name == "satellite", pattern=pattern, suite=suite, psk=psk,
                                     password=None, node_id=NODE_ID, prologue=prologue, key_path=path,
                                     remote_pubkey=remote)
        made._hs_state.e = keys[name + " ephemeral"]
        return made

    satellite, node = side("satellite", "node"), side("node", "satellite")
    written = []

    def step(writer, reader, payload):
        message = writer.write_message(payload)
        assert reader.read_message(message) == payload
        written.append({"message": message.hex(), "payload": payload.decode()})

    step(satellite, node, b'{"binarize": false, "encodings": ["JSON-B64"]}')
    step(node, satellite, b'{"encoding": "JSON-B64"}')
    if not node.handshake_finished:
        step(satellite, node, b"")
    ends = {"up": NoiseTransport(satellite), "down": NoiseTransport(node)}
    sealed = []
    for direction, body in messages():
        frames = []
        ends[direction].send_message(body, frames.append)
        raw = body.encode() if isinstance(body, str) else body
        # long ones by what they hash to
        sealed.append({"direction": direction, "json": isinstance(body, str), "length": len(raw),
                       "body": hashlib.sha256(raw).hexdigest(),
                       "frames": [f.hex() if len(f) < 500 else hashlib.sha256(f).hexdigest() for f in frames]})
    return {"pattern": pattern, "suite": suite, "hello": hello, "offer": offer, "psk": psk.hex(),
            "keys": {name: {"private": hashlib.sha256(name.encode()).hexdigest(), "public": pair.public_bytes.hex()}
                     for name, pair in keys.items()},
            "prologue": hashlib.sha256(prologue).hexdigest(), "messages": written, "sealed": sealed}


def taken(make, text):
    try:
        make(json.loads(text))
    except Exception:
        return False
    return True


def envelopes():
    bus = Message("recognizer_loop:utterance", {"utterances": ["küche"], "lang": "en-us"}, {"source": "a"})
    inner = HiveMessage(HiveMessageType.BUS, bus)
    texts = [HiveMessage(kind, {}).serialize() for kind in HiveMessageType if kind != HiveMessageType.BINARY]
    texts += [
        inner.serialize(), HiveMessage(HiveMessageType.PROPAGATE, inner, target_site_id="küche").serialize(),
        '{"msg_type": "bus", "payload": {"type": "a", "data": {"x": NaN, "y": "\\ud800"}, "context": {}}}',
        '{"msg_type": "ping"}', '{"payload": {}, "msg_type": "\\u0062us"}', '{"\\u006dsg_type": "bus", "payload": {}}',
        '{"msg_type": "bus", "payload": {}, "target_peers": ["a"], "bin_type": 0, "metadata": null, "route": null}',
        "", "7", "[]", "null", '"bus"', "{}", '{"payload": {}}', '{"msg_type": "unknown", "payload": {}}',
        '{"msg_type": 5, "payload": {}}', '{"msg_type": null, "payload": {}}', '{"msg_type": "BUS", "payload": {}}',
        '{"msg_type": "bus", "payload": {}, "extra": 1}', '{"msg_type": "bus", "payload": {}, "bin_type": 1}',
        '{"msg_type": "bin", "payload": {}}', '{"msg_type": "bus", "payload": {}', '{"msg_type": "bus", "payload": {}} x',
        '{"msg_type": "bus", "payload": "text"}',
        '{"msg_type": "bus", "payload": ' + "[" * 5000 + "]" * 5000 + "}",
    ]
    return [{"text": text, "taken": taken(lambda frame: HiveMessage(**frame), text)} for text in texts]


def buses():
    texts = [
        '{"type": "a", "data": {"n": 12345678901234567890, "f": 1.50}, "context": {"source": "a"}}',
        '{"type": "a"}', '{"type": "", "data": null, "context": null}', '{"type": "a", "more": 1}',
        "{}", '{"data": {}}', '{"type": null}', '{"type": 1}', '{"type": "a", "data": []}', '{"type": "a", "data": "x"}',
        '{"type": "a", "context": []}', '{"type": "a", "context": 0}', "[]", "null",
    ]
    return [{"text": text, "taken": taken(lambda p: Message(p["type"], data=p.get("data"), context=p.get("context")), text)}
            for text in texts]


def frames():
    made = [get_bitstring(HiveMessageType.BINARY, payload, compressed=compressed, hivemeta=meta, binary_type=kind,
                          versioned=versioned).bytes
            for payload in (b"", b"\x00", bytes(range(256))) for compressed in (False, True)
            for meta in ({}, {"sample_rate": 16000, "lang": "é"}) for kind in (0, 1, 6) for versioned in (False, True)]
    inner = HiveMessage(HiveMessageType.BUS, Message("a", {"x": "é" * 40}))
    made += [get_bitstring(kind, inner.payload if kind in (HiveMessageType.BUS, HiveMessageType.SHARED_BUS) else inner,
                           compressed=compressed).bytes
             for kind in HiveMessageType if kind not in (HiveMessageType.BINARY, HiveMessageType.INTERCOM)
             for compressed in (False, True)]
    made += [bytes.fromhex(text) for text in ("", "00", "01", "80", "8000", "ff", "0980", "d80000", "960000", "0c0000")]
    out = []
    for frame in made:
        try:
            message = decode_bitstring(frame)
            payload = message._payload
            payload = payload.hex() if isinstance(payload, bytes) else json.dumps(payload)
            out.append({"frame": frame.hex(), "kind": message.msg_type, "bin_type": int(message.bin_type),
                        "metadata": message.metadata, "payload": payload})
        except Exception:
            out.append({"frame": frame.hex(), "kind": None})
    return out


def main():
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        shakes = [handshake(folder, pattern, suite) for pattern in NOISE_PATTERNS for suite in NOISE_SUITES]
    made = {"canonical": canonical(), "psks": psks(), "handshakes": shakes, "envelopes": envelopes(),
            "buses": buses(), "frames": frames()}
    with open(sys.argv[1], "w") as file:
        json.dump(made, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()

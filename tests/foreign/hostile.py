"""A hostile Zenoh program, independent of hana except for its keys.

hostile.py ENDPOINT flood SECONDS KEY [FROM]     puts as fast as it can on one key, optionally as the node FROM
hostile.py ENDPOINT keys SECONDS PATTERN         the same on ever new keys; {} in the pattern is replaced by a new name
hostile.py ENDPOINT ask SECONDS KEY              sends queries as fast as it can
hostile.py ENDPOINT tokens SECONDS               declares liveliness tokens of made-up nodes and undeclares them
hostile.py ENDPOINT forge SECONDS KEY FROM INSTANCE [JSON]
                                                 a hundred puts a second, as another instance of the node FROM
hostile.py ENDPOINT nonsense KEY [FROM]          every kind of undecodable message, once each
hostile.py ENDPOINT huge KEY BYTES               one message of that size, and one with an attachment of that size
hostile.py ENDPOINT put KEY JSON [ATTACHMENT]    one message; the attachment is JSON, sent as MessagePack

Prints one line of JSON: the number of messages sent, and the rate per second.
"""

import json
import random
import sys
import time

import msgpack
import zenoh

BLOCK = zenoh.CongestionControl.BLOCK
PLAUSIBLE = {"uptime_ms": 1, "value": 0.5, "ping": {}, "number": 1, "stream": "output", "text": "x"}


def envelope(node, instance, sequence):
    return msgpack.packb([1, node, instance, sequence, int(time.time() * 1e6)])


def until(seconds):
    """Counts until the time is over."""
    end, n = time.monotonic() + seconds, 0
    while True:
        if n % 64 == 0 and time.monotonic() >= end:
            return
        yield n
        n += 1


def flood(session, seconds, key, sender=None):
    publisher = session.declare_publisher(key, congestion_control=BLOCK)
    payload, instance, sent = msgpack.packb(PLAUSIBLE), int(time.time() * 1e6), 0
    for n in until(float(seconds)):
        if sender:
            publisher.put(payload, attachment=envelope(sender, instance, n))
        else:
            publisher.put(payload)
        sent += 1
    return sent


def keys(session, seconds, pattern):
    payload, sent, run = msgpack.packb(PLAUSIBLE), 0, random.randrange(1 << 30)
    for n in until(float(seconds)):
        name = f"x{run:x}-{n}"
        key = pattern.replace("{}", name)
        session.put(key, payload, congestion_control=BLOCK, attachment=envelope(name, 1, 0))
        sent += 1
    return sent


def ask(session, seconds, key):
    sent = 0
    for n in until(float(seconds)):
        session.get(key, lambda reply: None, payload=b'{"ping": {}}', timeout=0.2)
        sent += 1
        if n % 64 == 63:
            time.sleep(0.001)
    return sent


def tokens(session, seconds):
    held, sent, run = [], 0, random.randrange(1 << 30)
    for n in until(float(seconds)):
        key = f"hana/t{run:x}-{n}/alive/{random.choice(['app', 'daemon', 'visualization'])}/{n:x}"
        held.append(session.liveliness().declare_token(key))
        sent += 1
        if len(held) > 200:
            held.pop(0).undeclare()
    return sent


def forge(session, seconds, key, sender, instance, text="{}"):
    payload, sent = text.encode(), 0
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        session.put(key, payload, encoding="application/json", attachment=envelope(sender, int(instance), sent))
        sent += 1
        time.sleep(0.01)
    return sent


def nonsense(session, key, sender=None):
    random.seed(7)
    real = msgpack.packb({"value": 0.5, "uptime_ms": 1, "parameters": {"zoom": 1.0}, "set": {"parameters": {}}})
    payloads = [random.randbytes(length) for length in (1, 2, 7, 64, 1000, 60_000, 70_000)]
    payloads += [real[:length] for length in range(len(real))]
    payloads += [b"\x91" * 30_000, b"\x81\xa1x" * 10_000, b"[" * 60_000, b'{"a":' * 10_000]
    payloads += [b"null", b"true", b'"text"', b"[]", b"{}", b"NaN", b"1e999", b"\xc1", b"\xc0", b"\xff" * 16]
    payloads += [msgpack.packb(value) for value in (
        {"value": "loud"}, {"value": [1]}, {"value": None}, {"set": {"parameters": {"zoom": "x" * 50_000}}},
        {"set": 7}, {"node": "A/B", "role": "king"}, {"frames": 3, "uptime_ms": -1}, {"kind": {}, "text": 5},
        {"parameters": {"\x1b[2J": 1.0}}, {"number": 2**64 - 1, "stream": "up", "text": b"\xff"}, [], [[]], {1: 2},
    )]
    sent = 0
    for payload in payloads:
        for encoding in ("application/msgpack", "application/json", "zenoh/bytes", "x" * 100):
            attachment = envelope(sender, 1, sent) if sender else random.choice([None, b"x", real, b"\x91" * 5000])
            session.put(key, payload, encoding=encoding, attachment=attachment, congestion_control=BLOCK)
            sent += 1
            # The rate stays below the rate limits, so that the messages are read.
            time.sleep(0.003)
    return sent


def huge(session, key, size):
    session.put(key, bytes(int(size)), congestion_control=BLOCK)
    session.put(key, b"0.5", attachment=bytes(int(size)), congestion_control=BLOCK)
    return 2


def put(session, key, text, attachment=None):
    attachment = msgpack.packb(json.loads(attachment)) if attachment else None
    session.put(key, text.encode(), encoding="application/json", attachment=attachment, congestion_control=BLOCK)
    return 1


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    endpoint, what, *words = sys.argv[1:]
    config = zenoh.Config()
    config.insert_json5("mode", '"client"')
    config.insert_json5("connect/endpoints", json.dumps([endpoint]))
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("queries_default_timeout", "1000")
    with zenoh.open(config) as session:
        doings = {act.__name__: act for act in (flood, keys, ask, tokens, forge, nonsense, huge, put)}
        begun = time.monotonic()
        sent = doings[what](session, *words)
        seconds = time.monotonic() - begun
    print(json.dumps({"sent": sent, "per_s": round(sent / max(seconds, 1e-6))}))


main()

"""Tests of the codec. Run with ``python3 -m unittest``."""

import base64
import json
import math
import struct
import unittest
from importlib.metadata import entry_points

import msgpack

from zenoh_cli_hana import decode, encode


class Key:
    """A key like zenoh's own: not a string, but with one."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


def shown(payload, key="hana/ripples/topic/x"):
    line = decode(Key(key), payload)
    assert "\n" not in line, line
    return json.loads(line)


class Decoder(unittest.TestCase):
    def test_a_map_is_shown_as_json(self):
        message = {"frame": 3, "name": "Blüte", "list": [1, None, True], "inner": {"a": -1}}
        self.assertEqual(shown(msgpack.packb(message)), message)
        self.assertEqual(shown(msgpack.packb({})), {})
        many = {str(n): n for n in range(70_000)}
        self.assertEqual(shown(msgpack.packb(many)), many)

    def test_numbers_of_32_bits_are_short_and_exact(self):
        line = decode("hana/x", msgpack.packb({"v": 0.1}, use_single_float=True))
        self.assertEqual(line, '{"v": 0.1}')
        self.assertEqual(shown(msgpack.packb({"v": 1 / 3})), {"v": 1 / 3})
        for number in [0.0, 1e-45, 3.4028234663852886e38, -3.4028234663852886e38, 16_777_217.0, 1e300]:
            found = shown(msgpack.packb({"v": number}))["v"]
            self.assertTrue(math.isclose(found, number, rel_tol=1e-8), (found, number))

    def test_values_unknown_to_json_become_strings(self):
        odd = {"a": float("nan"), "b": float("inf"), "c": float("-inf")}
        self.assertEqual(shown(msgpack.packb(odd)), {"a": "NaN", "b": "Infinity", "c": "-Infinity"})
        self.assertEqual(shown(msgpack.packb({1: 2, None: 3})), {"1": 2, "None": 3})
        self.assertEqual(shown(msgpack.packb({"b": b"\xff\x00"})), {"b": {"bytes": 2, "base64": "/wA="}})
        self.assertEqual(
            shown(msgpack.packb({"e": msgpack.ExtType(5, b"x")})), {"e": {"extension": 5, "base64": "eA=="}}
        )

    def test_the_samples_of_a_batch_are_numbers(self):
        batch = {"indices": [0, 2], "samples": struct.pack("<4f", 0.1, -1, 0.25, float("nan")), "at": 7}
        payload = msgpack.packb(batch)
        self.assertEqual(
            shown(payload, "hana/ripples/modulation/_batch"),
            {"indices": [0, 2], "samples": [0.1, -1, 0.25, "NaN"], "at": 7},
        )
        self.assertEqual(shown(payload)["samples"]["bytes"], 16)
        cut = msgpack.packb({"samples": b"abc"})
        self.assertEqual(shown(cut, "hana/ripples/modulation/_batch")["samples"]["bytes"], 3)

    def test_json_and_text_are_shown(self):
        self.assertEqual(decode("hana/x", b'{\n "a": 1.50\n}'), '{"a": 1.5}')
        self.assertEqual(shown(b"0.5"), 0.5)
        self.assertEqual(shown(b"hello\nworld"), "hello\nworld")
        self.assertEqual(shown(b"NaN"), "NaN")
        self.assertEqual(shown(b""), "")
        self.assertEqual(shown(b'"\\ud800"'), "\ud800")

    def test_anything_else_is_described(self):
        whole = msgpack.packb({"a": "b" * 20})
        odd = [b"\xc1", b"\xff\xfe", whole[:-3], whole + b"\x01", b"\x93\x01\x02\xff", b"\x81\x80\x01",
               b"\xdf\xff\xff\xff\xff", b"\x91" * 5000 + b"\x01", b"\x81\xa1a" * 5000 + b"\x01"]
        for payload in odd:
            with self.subTest(payload=payload[:16]):
                line = shown(payload)
                self.assertEqual(base64.b64decode(line["base64"]), payload)
                self.assertIn("bytes", line["not_decoded"])

    def test_no_payload_raises(self):
        state = 1
        for _ in range(20_000):
            payload = bytearray()
            for _ in range(state % 24):
                state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
                payload.append(state >> 56)
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            shown(b"\x82" + bytes(payload))
            shown(bytes(payload))
        shown(b"[" * 100_000)


class Encoder(unittest.TestCase):
    def test_an_object_becomes_a_map(self):
        self.assertEqual(msgpack.unpackb(encode("hana/x/control", '{"set": {"zoom": 0.5}}')), {"set": {"zoom": 0.5}})

    def test_a_value_for_a_parameter_becomes_a_map(self):
        for key in ["hana/ripples/modulation/zoom", Key("show/hana/ripples/modulation/zoom")]:
            self.assertEqual(msgpack.unpackb(encode(key, "0.5")), {"value": 0.5})
        self.assertEqual(encode("hana/ripples/topic/sparks", "[1, 2]"), b"[1, 2]")

    def test_other_text_is_refused(self):
        for text in ["zoom", "", "NaN", "{'a': 1}"]:
            with self.assertRaisesRegex(ValueError, "not JSON"):
                encode("hana/x/control", text)

    def test_encoded_values_decode_to_the_same(self):
        self.assertEqual(json.loads(decode("hana/x/look", encode("hana/x/look", '{"a": [1, "ü"]}'))), {"a": [1, "ü"]})


class Plugin(unittest.TestCase):
    def test_zenoh_finds_both(self):
        for direction, function in [("encoders", encode), ("decoders", decode)]:
            found = {entry.name: entry for entry in entry_points(group=f"zenoh_cli.codecs.{direction}")}
            self.assertIs(found["hana"].load(), function)


if __name__ == "__main__":
    unittest.main()

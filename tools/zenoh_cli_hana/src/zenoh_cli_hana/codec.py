"""The decoder and the encoder. ``zenoh`` calls them with the key and the value."""

import base64
import json
import math
import struct
import sys

import msgpack


def decode(key, value):
    """Returns the payload ``value`` as a line of JSON. Never raises."""
    payload = bytes(value)
    try:
        return _line(_read(str(key), payload))
    except Exception as error:  # a message that cannot be shown must not hide the ones after it
        return _line(_not_decoded(payload, f"cannot be shown: {error}"))


def encode(key, value):
    """Returns the payload for the JSON text ``value``.

    Raises ValueError if it is not JSON.
    """
    try:
        message = _from_json(value)
    except ValueError as error:
        raise ValueError(
            f"{value!r} is not JSON ({error}); a string needs double quotes inside the shell's quotes: '\"text\"'"
        ) from None
    if not isinstance(message, dict):
        if not _is_parameter(str(key)):
            # Messages are maps, and the encoder cannot know the field that this value is meant for.
            return value.encode()
        message = {"value": message}
    return msgpack.packb(message)


def _is_parameter(key):
    """Returns whether the key is ``hana/<viz>/modulation/<parameter>``, possibly below a show's name."""
    chunks = key.split("/")
    return chunks[-4:-3] == ["hana"] and chunks[-2] == "modulation" and not chunks[-1].startswith("_")


def _read(key, payload):
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return _from_msgpack(key, payload)
    try:
        return _from_json(text)
    except (ValueError, RecursionError):
        # The first bytes of a MessagePack map are never UTF-8, so this is text.
        return text


def _from_json(text):
    def refuse(word):
        raise ValueError(f"JSON has no {word}")

    return json.loads(text, parse_constant=refuse)


def _from_msgpack(key, payload):
    try:
        message = msgpack.unpackb(
            payload, raw=False, strict_map_key=False, unicode_errors="backslashreplace"
        )
    except Exception as error:
        # Many of msgpack's errors have no text.
        return _not_decoded(
            payload, f"not MessagePack ({error or type(error).__name__}), JSON or text"
        )
    if not isinstance(message, dict):
        return _not_decoded(payload, "MessagePack, but not a map")
    shown = _shown(message)
    samples = message.get("samples")
    if key.endswith("/modulation/_batch") and isinstance(samples, bytes) and len(samples) % 4 == 0:
        shown["samples"] = [_number(sample) for (sample,) in struct.iter_unpack("<f", samples)]
    return shown


def _not_decoded(payload, why):
    return {"not_decoded": f"{len(payload)} bytes, {why}", "base64": base64.b64encode(payload).decode()}


def _shown(value):
    """Returns the value in types that JSON can represent."""
    if isinstance(value, dict):
        return {name if isinstance(name, str) else str(name): _shown(part) for name, part in value.items()}
    if isinstance(value, msgpack.ExtType):  # a tuple as well, so it comes first
        return {"extension": value.code, "base64": base64.b64encode(value.data).decode()}
    if isinstance(value, (list, tuple)):
        return [_shown(part) for part in value]
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, bytes):
        return {"bytes": len(value), "base64": base64.b64encode(value).decode()}
    if isinstance(value, msgpack.Timestamp):
        return {"unix_seconds": value.seconds, "nanoseconds": value.nanoseconds}
    return value


def _number(value):
    """Returns the shortest number that is equal to the value in 32 bits, if it fits into 32 bits."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    try:
        if struct.unpack("<f", struct.pack("<f", value))[0] != value:
            return value
    except OverflowError:
        return value
    for digits in range(6, 10):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.unpack("<f", struct.pack("<f", short))[0] == value:
                return short
        except OverflowError:
            # One of the largest 32-bit numbers, rounded up.
            continue
    return value


def _line(value):
    line = json.dumps(value, ensure_ascii=False)
    try:
        # zenoh prints the line there; a lone surrogate, or a terminal without Unicode, would raise an error.
        line.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        line = json.dumps(value)
    return line

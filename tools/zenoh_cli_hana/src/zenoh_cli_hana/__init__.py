"""The codec ``hana`` for the ``zenoh`` command line: hana's messages as JSON."""

from .codec import decode, encode

__all__ = ["decode", "encode"]

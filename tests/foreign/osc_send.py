"""Sends OSC with python-osc, independent of hana.

osc_send.py HOST PORT ADDRESS VALUE...     numbers go as floats (nan and inf too), `i:3` as an integer, true and
                                           false as booleans, anything else as text
osc_send.py HOST PORT --raw HEX            these bytes as they are
osc_send.py HOST PORT -                    one ADDRESS VALUE... or --raw HEX per line of standard input
"""

import shlex
import socket
import sys

from pythonosc.udp_client import SimpleUDPClient


def value(word):
    if word in ("true", "false"):
        return word == "true"
    if word.startswith("i:"):
        return int(word[2:])
    try:
        return float(word)
    except ValueError:
        return word


def send(host, port, words):
    if words[0] == "--raw":
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as raw:
            raw.sendto(bytes.fromhex("".join(words[1:])), address)
    else:
        SimpleUDPClient(host, port).send_message(words[0], [value(word) for word in words[1:]])


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    host, port, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    if words == ["-"]:
        for line in sys.stdin:
            if line.strip():
                send(host, port, shlex.split(line))
    else:
        send(host, port, words)


main()

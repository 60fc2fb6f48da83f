"""Publishes COUNT knocks on a topic at once, on SIGUSR1: python3 knocks.py ENDPOINT COUNT"""

import json
import signal
import sys
import time

import zenoh

endpoint, count = sys.argv[1], int(sys.argv[2])
config = zenoh.Config()
config.insert_json5("mode", '"client"')
config.insert_json5("connect/endpoints", json.dumps([endpoint]))
config.insert_json5("scouting/multicast/enabled", "false")
go = []
signal.signal(signal.SIGUSR1, lambda *_: go.append(True))
with zenoh.open(config) as session:
    print("ready", flush=True)
    while not go:
        time.sleep(0.005)
    for number in range(count):
        session.put("hana/guest/topic/knock", json.dumps({"number": number}))
        # A link would drop messages at a higher rate.
        if number % 100 == 0:
            time.sleep(0.002)
    time.sleep(1)

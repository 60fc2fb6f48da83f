"""A member of an Ableton Link session, independent of hana.

link_peer.py link|aalink BPM [QUANTUM]

Uses LinkPython-extern or aalink, two bindings by different authors. Writes a line of JSON fifty times a second: bpm, beat,
at_us (of CLOCK_MONOTONIC), quantum, playing, peers. Reads commands: `tempo BPM`, `play`, `pause`, `beat BEAT` (forced, as no
polite member does), `alone` (leaves the session), `together`. Ends when its input ends.
"""

import asyncio
import json
import os
import sys
import threading
import time


def now_us():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


class ByLinkPython:
    def __init__(self, bpm, quantum):
        import link

        self.link, self.quantum = link.Link(bpm), quantum
        self.link.startStopSyncEnabled = True

    def join(self, joined):
        self.link.enabled = joined

    def change(self, change):
        state = self.link.captureAppSessionState()
        change(state, self.link.clock().micros())
        self.link.commitAppSessionState(state)

    def tempo(self, bpm):
        self.change(lambda state, now: state.setTempo(bpm, now))

    def play(self, playing):
        self.change(lambda state, now: state.setIsPlaying(playing, now))

    def beat(self, beat):
        self.change(lambda state, now: state.forceBeatAtTime(beat, now, self.quantum))

    def look(self):
        state = self.link.captureAppSessionState()
        before = now_us()
        clock = self.link.clock().micros()
        at_us = (before + now_us()) // 2
        return {
            "bpm": state.tempo(), "beat": state.beatAtTime(clock, self.quantum), "at_us": at_us,
            "playing": state.isPlaying(), "peers": self.link.numPeers(), "took_us": now_us() - before,
        }


class ByAalink:
    def __init__(self, bpm, quantum):
        import aalink

        self.link = aalink.Link(bpm)
        self.link.quantum = quantum
        self.link.start_stop_sync_enabled = True

    def join(self, joined):
        self.link.enabled = joined

    def tempo(self, bpm):
        self.link.tempo = bpm

    def play(self, playing):
        self.link.playing = playing

    def beat(self, beat):
        self.link.force_beat(beat)

    def look(self):
        link = self.link
        before = now_us()
        beat = link.beat
        at_us, took_us = (before + now_us()) // 2, now_us() - before
        return {
            "bpm": link.tempo, "beat": beat, "at_us": at_us, "playing": link.playing, "peers": link.num_peers,
            "took_us": took_us,
        }


async def main():
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in ("link", "aalink"):
        sys.exit(__doc__)
    bpm, quantum = float(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 4.0
    peer = (ByLinkPython if sys.argv[1] == "link" else ByAalink)(bpm, quantum)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    acts = {
        "tempo": lambda bpm: peer.tempo(float(bpm)), "beat": lambda beat: peer.beat(float(beat)),
        "play": lambda: peer.play(True), "pause": lambda: peer.play(False),
        "alone": lambda: peer.join(False), "together": lambda: peer.join(True),
    }

    def read():
        for line in sys.stdin:
            word, *numbers = line.split()
            loop.call_soon_threadsafe(acts[word], *numbers)
        loop.call_soon_threadsafe(ended.set)

    # Link compares the ages of sessions with a tolerance of half a second: a session that starts during this time may
    # lose against this one. See also Ableton/link#146.
    await asyncio.sleep(0.7)
    peer.join(True)
    threading.Thread(target=read, daemon=True).start()
    while not ended.is_set():
        # This is the most precise of three readings, since the process may be suspended in the middle of one.
        look = min((peer.look() for _ in range(3)), key=lambda look: look["took_us"])
        print(json.dumps(look | {"quantum": quantum}), flush=True)
        await asyncio.sleep(0.02)
    # The member leaves the session first, since aalink sometimes aborts when Python destroys it.
    peer.join(False)
    await asyncio.sleep(0.2)
    sys.stdout.flush()
    os._exit(0)


asyncio.run(main())

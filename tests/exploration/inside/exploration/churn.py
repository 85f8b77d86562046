"""Probes that come and go while the program runs."""

import _thread
import json
import os
import sys
import time


class Churn:
    """Moves some every 20 ms, in a thread that `threading` does not know."""

    EVERY_SECONDS = 0.02

    def __init__(self, definitions):
        stroboscope = sys.modules["stroboscope"]
        self.add, self.remove, self.sleep = stroboscope.add_probe, stroboscope.remove_probe, time.sleep
        self.away = [(definition["id"], json.dumps(definition)) for definition in definitions]
        self.there = []
        # Half of them are there after two seconds, however many they are; then as many go as come.
        self.at_once = max(5, len(self.away) // 200)
        self.most = len(self.away) // 2
        self.seed = 1
        self.moves = 0
        self.errors = []
        self.wanted = self.runs = True
        self.process = os.getpid()
        _thread.start_new_thread(self.run, ())

    def random(self, below):
        """A small generator of our own, which leaves the program's alone."""
        self.seed = self.seed * 48271 % 0x7FFFFFFF
        return self.seed % below

    def move(self, source, target, act):
        for _ in range(min(self.at_once, len(source))):
            at = self.random(len(source))
            source[at], source[-1] = source[-1], source[at]
            probe = source.pop()
            try:
                act(probe)
            except Exception as error:
                self.errors.append(f"{probe[0]}: {type(error).__name__}: {error}")
            target.append(probe)
            self.moves += 1

    def run(self):
        while self.wanted:
            self.move(self.away, self.there, lambda probe: self.add(probe[1]))
            if len(self.there) > self.most:
                self.move(self.there, self.away, lambda probe: self.remove(probe[0]))
            self.sleep(self.EVERY_SECONDS)
        self.runs = False

    def stop(self):
        self.wanted = False
        while self.runs and os.getpid() == self.process:  # in a forked child it never ran
            self.sleep(self.EVERY_SECONDS)

#!/usr/bin/env python3
"""Counts words: a record processor in plain Python, to be read from top to bottom.

The daemon starts one of these per shard and talks to it in lines of JSON: its messages come
on standard input, our answers go to standard output. Every message is answered by exactly one
`status` line. Before that line, and only then, we may ask for checkpoints: "everything up to here
is done, never show it to anyone again". Standard error is free for anything meant for people.

    message               what it means                          checkpoint here?
    initialize            this shard is ours, from here on       no
    processRecords        a batch of records                     yes
    shardEnded            all was read, the shard is closed      must, or its child shards never start
    shutdownRequested     the daemon is about to stop            yes, the last chance
    leaseLost             another worker owns the shard now      no
    (end of input)        done, leave

Environment: CHECKPOINT_SECONDS, time between two checkpoints; 0, the default, is one after each batch.
Argument: --quiet says nothing on standard error.
"""
import base64
import collections
import json
import os
import signal
import sys
import time


class CheckpointRefused(Exception):
    """The daemon answered a checkpoint with the name of an error, such as ShutdownException."""


class Daemon:
    """The other end of the two pipes."""

    def receive(self):
        """The next message, or None at the end of input. Lines that are no message are passed over."""
        for line in sys.stdin.buffer:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict) and "action" in message:
                return message
        return None

    def send(self, message):
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    def checkpoint(self, sequence_number=None, sub_sequence_number=None):
        """Stores a place; without a number, the last record delivered (or the end of an ended shard)."""
        self.send({"action": "checkpoint", "sequenceNumber": sequence_number,
                   "subSequenceNumber": sub_sequence_number})
        answer = self.receive()
        if answer is None:
            raise CheckpointRefused("the daemon is gone")
        if answer.get("error"):
            raise CheckpointRefused(answer["error"])


class WordCount:
    """What this program is for. One instance sees one shard."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.words = collections.Counter()
        self.last = None            # (sequence number, sub-sequence number) of the newest record counted
        self.saved_at = 0.0
        self.every = float(os.environ.get("CHECKPOINT_SECONDS", "0"))

    def initialize(self, message):
        self.shard = message["shardId"]
        self.say("starts at %s" % message["sequenceNumber"])

    def process_records(self, message):
        for record in message["records"]:
            text = base64.b64decode(record["data"]).decode("utf-8", "replace")
            self.words.update(text.split())
            self.last = (record["sequenceNumber"], record.get("subSequenceNumber"))
        if self.last and time.monotonic() - self.saved_at >= self.every:
            self.save(*self.last)

    def shard_ended(self, message):
        self.save()                 # no number: the end of the shard itself
        self.say("has ended: %d words, most often %s" % (sum(self.words.values()), self.words.most_common(3)))

    def shutdown_requested(self, message):
        if self.last:
            self.save(*self.last)
        self.say("stops: %d words, most often %s" % (sum(self.words.values()), self.words.most_common(3)))

    def lease_lost(self, message):
        self.say("is not ours any more")

    def save(self, *place):
        """A refused checkpoint is no reason to die: the next one, or the next owner, makes it good."""
        try:
            self.daemon.checkpoint(*place)
            self.saved_at = time.monotonic()
        except CheckpointRefused as why:
            self.say("checkpoint refused: %s" % why)

    def say(self, text):
        if "--quiet" not in sys.argv:
            print("%s %s" % (self.shard, text), file=sys.stderr, flush=True)


def main():
    daemon = Daemon()
    counter = WordCount(daemon)
    answer = {
        "initialize": counter.initialize,
        "processRecords": counter.process_records,
        "shardEnded": counter.shard_ended,
        "shutdownRequested": counter.shutdown_requested,
        "leaseLost": counter.lease_lost,
    }
    while True:
        message = daemon.receive()
        if message is None:
            return
        action = message["action"]
        if action in answer:
            answer[action](message)
            daemon.send({"action": "status", "responseFor": action})


if __name__ == "__main__":
    # Ctrl-C in a terminal may reach us too, but when we stop is the daemon's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        main()
    except BrokenPipeError:
        os._exit(1)                 # the daemon is gone

#!/usr/bin/env python3
"""Record processor on the first interface of amazon_kclpy, as of 2015 (unmodified library)."""
import os
from amazon_kclpy import kcl


def note(*words):
    with open(os.environ.get("PROBE_LOG", "probe.log"), "a") as f:
        f.write(" ".join(str(w) for w in words) + "\n")


class App(kcl.RecordProcessorBase):
    def initialize(self, shard_id):
        self.shard = shard_id
        note(self.shard, "init")

    def process_records(self, records, checkpointer):
        note(self.shard, "records", len(records))
        if records:
            checkpointer.checkpoint(records[-1]["sequenceNumber"])
            note(self.shard, "checkpointed", records[-1]["sequenceNumber"])

    def shutdown(self, checkpointer, reason):
        note(self.shard, "shutdown", reason)
        if reason == "TERMINATE":
            checkpointer.checkpoint()
            note(self.shard, "shutdown checkpointed")


if __name__ == "__main__":
    kcl.KCLProcess(App()).run()

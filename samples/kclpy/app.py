#!/usr/bin/env python3
"""An ordinary amazon_kclpy application: prints each record, checkpoints after each batch.

Nothing in here knows which daemon runs it: the same file runs under Amazon's Java MultiLangDaemon.
"""
import sys

from amazon_kclpy import kcl
from amazon_kclpy.v3 import processor


class Printer(processor.RecordProcessorBase):
    def initialize(self, initialize_input):
        self.shard = initialize_input.shard_id
        self.say("starts at %s" % initialize_input.sequence_number)

    def process_records(self, process_records_input):
        for record in process_records_input.records:
            self.say("%s: %s" % (record.partition_key, record.binary_data.decode("utf-8", "replace")))
        if process_records_input.records:
            self.checkpoint(process_records_input.checkpointer)

    def shard_ended(self, shard_ended_input):
        self.checkpoint(shard_ended_input.checkpointer)     # a must: the child shards wait for it
        self.say("has ended")

    def shutdown_requested(self, shutdown_requested_input):
        self.checkpoint(shutdown_requested_input.checkpointer)
        self.say("stops")

    def lease_lost(self, lease_lost_input):
        self.say("goes to another worker")

    def checkpoint(self, checkpointer):
        try:
            checkpointer.checkpoint()                       # no number: everything delivered so far
        except kcl.CheckpointError as why:
            self.say("checkpoint refused: %s" % why)

    def say(self, text):
        # Standard output belongs to the conversation with the daemon.
        print("%s %s" % (self.shard, text), file=sys.stderr, flush=True)


if __name__ == "__main__":
    kcl.KCLProcess(Printer()).run()

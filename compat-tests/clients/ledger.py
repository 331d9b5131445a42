#!/usr/bin/env python3
"""A child that keeps a ledger: one line of JSON for each thing that happens to it, in the file named by LEDGER.

Environment
  LEDGER       the file (lines are appended whole, so that several children may share it)
  CHECKPOINT   batch (default) = after every batch, at the last record by number; none = only where it must
  HANG_ON      an action at which it stops answering and reading for ever, signals and end of input included
  FORGET_ON    an action at which it does not checkpoint
  FAIL_ON      an action at which it ends with code 7
  DIE_OF       a record's text, or its beginning and `*`: who is given it ends with code 7
  DIE_SAYING   what it says on standard error then
  CRASH_SHARD  a shard whose children die of a signal, whatever they are at, CRASH_AFTER seconds after `initialize`
  ANSWER_SLOWLY seconds to wait before each answer to processRecords
"""
import base64
import json
import os
import signal
import sys
import time

ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
hang_on, fail_on = os.environ.get("HANG_ON"), os.environ.get("FAIL_ON")
forget_on = os.environ.get("FORGET_ON")
each_batch = os.environ.get("CHECKPOINT", "batch") == "batch"
slowly = float(os.environ.get("ANSWER_SLOWLY", "0"))
shard = None


def note(event, **more):
    line = dict(t=time.time(), pid=os.getpid(), event=event, shard=shard, **more)
    os.write(ledger, json.dumps(line).encode() + b"\n")


def receive():
    line = sys.stdin.buffer.readline()
    if not line:
        note("end of input")
        sys.exit(0)
    return json.loads(line)


def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def deadly(text):
    of = os.environ.get("DIE_OF")
    return of is not None and (text.startswith(of[:-1]) if of.endswith("*") else text == of)


def checkpoint(sequence=None, sub=None):
    send({"action": "checkpoint", "sequenceNumber": sequence, "subSequenceNumber": sub})
    note("checkpoint", sequence=sequence, sub=sub, error=receive().get("error"))


if hang_on:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
note("start")
while True:
    message = receive()
    action = message["action"]
    if action == "initialize":
        shard = message["shardId"]
        note(action, sequence=message["sequenceNumber"], sub=message["subSequenceNumber"])
        if shard == os.environ.get("CRASH_SHARD"):
            signal.setitimer(signal.ITIMER_REAL, float(os.environ["CRASH_AFTER"]))
    elif action == "processRecords":
        records = message["records"]
        note(action, behind=message["millisBehindLatest"],
             records=[[r["sequenceNumber"], r["subSequenceNumber"], r["partitionKey"],
                       base64.b64decode(r["data"]).decode("utf-8", "replace")] for r in records])
        if any(deadly(base64.b64decode(r["data"]).decode("utf-8", "replace")) for r in records):
            os.write(2, os.environ.get("DIE_SAYING", "").encode())
            os._exit(7)
    else:
        note(action)
    if action == hang_on:
        while True:
            time.sleep(3600)
    if action == fail_on:
        os._exit(7)
    if action == "processRecords":
        time.sleep(slowly)
        if records and each_batch:
            checkpoint(records[-1]["sequenceNumber"], records[-1]["subSequenceNumber"])
    elif action in ("shardEnded", "shutdownRequested") and action != forget_on:
        checkpoint()
    send({"action": "status", "responseFor": action})

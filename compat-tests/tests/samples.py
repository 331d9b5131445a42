"""The samples run as their READMEs say."""
import os
import signal

from harness import world as worlds
from harness.runner import test
from harness.world import check

SAMPLES = os.path.join(worlds.REPO, "samples")


def read(file):
    with open(file) as f:
        pairs = (line.split("=", 1) for line in f if "=" in line and not line.startswith("#"))
        return {k.strip(): v.strip() for k, v in pairs}


def as_printed(world, file, python, directory, says):
    """The properties file of a sample, with this run's endpoints in the place of the README's."""
    shipped = read(file)
    backend = world.embedded()
    stream, app = backend.stream(shipped.pop("streamName"), 2), backend.application(shipped.pop("applicationName"))
    for key in ("kinesisEndpoint", "dynamoDBEndpoint"):
        shipped.pop(key)
    put = world.spawn("put", [world.binary, "put", "--stream", stream.name, "--endpoint", backend.kinesis_url,
                              "--words", "100"])
    check(put.wait(30) == 0, "`multilangd put` failed\n" + worlds.tail(put.err))
    wanted = {k: number for k, (count, number) in stream.last_numbers().items() if count}
    program = shipped.pop("executableName").split()
    check(program[0] == "python3", "the sample's executableName begins with %s" % program[0])
    script = os.path.join(directory, program[1])
    daemon = world.daemon(app, stream=stream, executableName="%s %s" % (python, script), shutdownGraceMillis="15000",
                          retrievalMode=None, **{**shipped, **worlds.QUICK}).start()
    daemon.wait_for("the last record of each shard as its checkpoint", lambda: {
        k: c for k, c in app.checkpoints().items() if k in wanted} == wanted, 90)
    code, _ = daemon.stop(signal.SIGINT)
    check(code == 130, "after SIGINT the exit code was %s, not 130" % code)
    check(says in daemon.output(), "the sample did not say '%s'\n%s" % (says, worlds.tail(daemon.process.err)))


@test("sample-wordcount")
def _(world):
    """samples/wordcount.py with its properties file: every word counted and checkpointed."""
    as_printed(world, os.path.join(SAMPLES, "wordcount.properties"), "python3", worlds.REPO, "words, most often")


@test("sample-kclpy")
def _(world):
    """samples/kclpy with its properties file: every record printed and checkpointed."""
    as_printed(world, os.path.join(SAMPLES, "kclpy", "kcl.properties"), world.tools.kclpy(),
               os.path.join(SAMPLES, "kclpy"), "starts at TRIM_HORIZON")


@test("sample-wordcount-course")
def _(world):
    """samples/wordcount.py over a split: the parent ends, its children begin."""
    backend = world.embedded()
    stream, app = backend.stream("words", 1), backend.application("wordcount")
    stream.put(50)
    daemon = world.daemon(app, stream=stream, executableName="python3 " + os.path.join(SAMPLES, "wordcount.py"),
                          **worlds.QUICK).start()
    daemon.wait_for("a first checkpoint", lambda: app.checkpoints().get("shardId-000000000000", "").isdigit(), 90)
    stream.split("shardId-000000000000")
    stream.put_to_all("last words")
    daemon.wait_for("checkpoints of both child shards", lambda: sum(
        c.isdigit() for k, c in app.checkpoints().items() if not k.endswith("0000")) == 2, 60)
    daemon.stop()
    check("has ended: 50 words" in daemon.output(), "the parent's child did not count 50 words\n" + worlds.tail(daemon.process.err))

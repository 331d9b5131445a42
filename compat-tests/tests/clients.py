"""Courses of clients in other languages, unmodified, on the embedded backend; what each needs is said where it is named."""
import dataclasses
import os
import typing

from harness import tools as tooling, world as worlds
from harness.course import CHECKPOINTED, big_line, course
from harness.runner import test
from harness.world import check


def file(name):
    return os.path.join(worlds.COMPAT, "clients", name)


@dataclasses.dataclass
class Client:
    name: str
    about: str
    #: Makes sure of what it needs; its command.
    command: typing.Callable[[tooling.Tools], str]
    #: What it writes down last, at SIGTERM.
    left: list
    #: How it says that its shard ended.
    at_end: typing.Any = CHECKPOINTED
    env: typing.Callable[[tooling.Tools], dict] = lambda tools: {}
    properties: dict = dataclasses.field(default_factory=dict)
    heavy: bool = False


def level(number, **more):
    return {"multilangd.protocolLevel": str(number), **more}


def program(name, words):
    def command(_):
        tooling.need(name)
        return "%s %s" % (name, words)
    return command


def old_kclpy(version, app, left, **properties):
    return Client("kclpy-" + version, "amazon_kclpy " + version, lambda tools: "%s %s" % (tools.venv(), file(app)), left,
                  env=lambda tools: {"PYTHONPATH": tools.old_kclpy(version)}, properties=properties, heavy=True)


# It checkpoints after its answer, so that the daemon sees that with the next batch only.
CLEVER = level(1, callProcessRecordsEvenForEmptyRecordList="true")

CLIENTS = [
    # It panics at an ending without a text field `checkpoint`.
    Client("rust", "Rust, crate kcl", lambda tools: tools.rust_child("rust"),
           ["shutdownRequested checkpointed Ok(())", "leaseLost"], properties=level(2)),
    # It cannot checkpoint at the end of a shard.
    Client("rust-async", "Rust, crate kcl-async", lambda tools: tools.rust_child("rust-async"),
           ["shutdownRequested checkpointed true", "leaseLost"], at_end="shardEnded",
           properties={"multilangd.checkpointAtShardEnd": "true"}),
    # It ends by itself once it was asked to stop.
    Client("go-clever", "Go, Clever's library", lambda tools: tools.go_child("go-clever"),
           ["shutdown SHUTDOWN_REQUESTED"], at_end="shutdown TERMINATE", properties=CLEVER),
    old_kclpy("3.1.3", "app_v3.py", ["shutdownRequested checkpointed", "leaseLost"]),
    old_kclpy("2.1.5", "app_v2.py", ["shutdownRequested checkpointed", "shutdown ZOMBIE"]),
    old_kclpy("1.5.1", "app_v2.py", ["shutdownRequested checkpointed", "shutdown ZOMBIE"], **level(1)),
    # It does not know `shutdownRequested` and dies of it, so it says nothing more.
    old_kclpy("1.1.0", "app_v1.py", [], **level(1)),
    Client("php", "PHP, no library", program("php", file("app.php")),
           ["shutdownRequested checkpointed ok", "leaseLost"], heavy=True),
    Client("elixir", "Elixir, no library", lambda tools: "elixir -pa %s %s" % (tools.jiffy(), file("app.exs")),
           ["shutdownRequested checkpointed :null", "leaseLost"], heavy=True),
]


def tests_of(client):
    def play(world, part, **more):
        part(world, world.embedded(), client.command(world.tools), client.left, env=client.env(world.tools), **more,
             **client.properties)

    def whole_course(world):
        play(world, course, at_end=client.at_end)

    def one_big_line(world):
        play(world, big_line)
    how = ", ".join(" = ".join(kv) for kv in client.properties.items()) or "as it is"
    whole_course.__doc__ = "%s: 300 records over a split (%s)." % (client.about, how)
    one_big_line.__doc__ = "%s: 13 MB in one line." % client.about
    test("client-" + client.name, heavy=client.heavy)(whole_course)
    test("big-line-" + client.name, heavy=client.heavy)(one_big_line)


for each in CLIENTS:
    tests_of(each)


@test("client-go-clever-handoff")
def _(world):
    """Go, Clever's library: a second worker is given a part of four shards; the children that end at that stop nobody."""
    backend = world.embedded()
    stream, app = backend.stream("share", 4), backend.application("share-app")
    more = dict(worlds.QUICK, **CLEVER, stream=stream, executableName=world.tools.go_child("go-clever"))
    w1 = world.daemon(app, "w1", env={"PROBE_LOG": world.path("probe-1")}, **more).start()
    w1.wait_for("four leases", lambda: list(app.owners().values()) == ["w1"] * 4, 30)
    w2 = world.daemon(app, "w2", env={"PROBE_LOG": world.path("probe-2")}, **more).start()

    def taken():
        begun = [line for line in worlds.lines_of(world.path("probe-2")) if line.endswith(" init")]
        return begun and len(begun) == list(app.owners().values()).count("w2") and not any(
            "checkpointOwner" in row for row in app.leases().values())
    w2.wait_for("the second worker's children to begin", taken, 60)
    check(w1.alive, "the first worker ended with code %s" % w1.process.returncode)
    asked = [line for line in worlds.lines_of(world.path("probe-1")) if line.endswith("shutdown SHUTDOWN_REQUESTED")]
    check(asked, "no child of the first worker was asked to stop")
    for daemon in (w2, w1):
        code, _ = daemon.stop()
        check(code == 143, "after SIGTERM the exit code of %s was %s, not 143" % (daemon.name, code))
    check(not app.given_back(), app.given_back())

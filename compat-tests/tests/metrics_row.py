"""The metric row beside Java's: the same fake platform, the same attributes, values close to each other."""
import os
import time

from harness import world as worlds
from harness.ecs import EcsMetadata
from harness.runner import test
from harness.world import check

#: what the reference says on the same endpoint: half a core of the two that the task may use, shared by two containers
EXPECTED = 50.0


def shape(row):
    """The row with a type in the place of each number."""
    def of(value):
        (kind, inside), = value.items()
        if kind == "M":
            return {k: of(v) for k, v in inside.items()}
        return [of(v) for v in inside] if kind == "L" else kind
    return {name: of(value) for name, value in row.items()}


def values(row, name):
    return [float(v["N"]) for v in row[name]["M"]["C"]["L"]]


def measured(app, worker, at_least):
    """The worker's row once it has that many averages."""
    row = app.rows().get(worker)
    return row if row and "C" in row["sts"]["M"] and len(values(row, "sts")) >= at_least else None


def ours(world, endpoint, backend, stream, app, **properties):
    return world.daemon(app, stream=stream, env=dict(ECS_CONTAINER_METADATA_URI_V4=endpoint.uri),
                        workerMetricsReporterFreqInMillis="5000", **properties).start()


@test("metric-row")
def _(world):
    """On a fake ECS task the row says our share of the CPU; -1 while the endpoint fails; nothing when disabled."""
    endpoint, backend = EcsMetadata(), world.embedded()
    try:
        stream, app = backend.stream("metric-row", 1), backend.application("metric-row-app")
        daemon = ours(world, endpoint, backend, stream, app)
        row = daemon.wait_for("a first row", lambda: app.rows().get("w1"), 30, 0.02)
        check(row["sts"] == {"M": {}} and row["opr"] == {"M": {}}, "the first row does not wait for the CPU: %s" % row)
        row = daemon.wait_for("two averages", lambda: measured(app, "w1", 2), 20)
        check(values(row, "sts")[:2] == [EXPECTED] * 2 and values(row, "opr") == [100.0], "the row says %s" % row)
        check([p for p in endpoint.asked if not p.endswith("/stats")] == ["/v4/abc/task", "/v4/abc"],
              "task and container are asked once, not %s" % endpoint.asked)
        endpoint.working = False
        daemon.wait_for("-1", lambda: values(app.rows()["w1"], "sts")[-1] == -1, 20)
        endpoint.working = True
        daemon.wait_for("a value again", lambda: values(app.rows()["w1"], "sts")[-1] == EXPECTED, 20)
        said = [line for line in daemon.output().split("\n") if "CPU c" in line]
        check(len(said) == 2, "an episode is two lines, not %s" % said)
        daemon.stop()
        asked = len(endpoint.asked)
        daemon = ours(world, endpoint, backend, stream, app, name="w2", disableWorkerMetrics="true", workerId="w2")
        daemon.wait_for("a row", lambda: app.rows().get("w2"), 30)
        time.sleep(4)
        check(app.rows()["w2"]["sts"] == {"M": {}}, "a disabled metric is reported: %s" % app.rows()["w2"])
        check(len(endpoint.asked) == asked, "a disabled metric is measured")
        daemon.stop()
    finally:
        endpoint.close()


@test("same-worker-id")
def _(world):
    """Two running processes with one workerId: one loud line that names it."""
    backend = world.embedded()
    stream, app = backend.stream("same-worker-id", 1), backend.application("same-worker-id-app")
    both = []
    for name in ("one", "two"):
        both.append(world.daemon(app, name, stream=stream, workerId="twin", workerMetricsReporterFreqInMillis="3000").start())
        time.sleep(1.4)     # rows carry whole seconds; reports of the same second are told apart only by their spread, later

    def told():
        return [line for d in both for line in d.output().split("\n") if "another running process has our workerId" in line]
    both[0].wait_for("the line", told, 40)
    check("twin" in told()[0], "the line does not name the workerId: %s" % told()[0])
    time.sleep(10)
    check(all(sum("has our workerId" in line for line in d.output().split("\n")) <= 2 for d in both), "it is said again and again")


@test("metric-row-java", heavy=True)
def _(world):
    """The row beside that of the Java daemon 3.5.1 on the same fake ECS task: same attributes and types, close values."""
    jars = world.tools.java_daemon()
    java = ["java", "-Xmx256m", "-cp", os.path.join(jars, "*"), "software.amazon.kinesis.multilang.MultiLangDaemon",
            "--properties-file", "{properties}"]
    rows = {}
    for name, command in (("ours", None), ("java", java)):
        endpoint, backend = EcsMetadata(), world.embedded()
        try:
            stream, app = backend.stream("metric-row-%s" % name, 1), backend.application("metric-row-%s-app" % name)
            daemon = world.daemon(app, name, command, stream=stream, workerMetricsReporterFreqInMillis="5000",
                                  env=dict(ECS_CONTAINER_METADATA_URI_V4=endpoint.uri)).start()
            rows[name] = daemon.wait_for("three averages", lambda: measured(app, name, 3), 180, 0.5)
            daemon.send(worlds.signal.SIGKILL)
        finally:
            endpoint.close()
    for name, row in rows.items():
        check(all(abs(v - EXPECTED) < 0.01 for v in values(row, "sts")), "%s says %s" % (name, row))
        row["sts"]["M"]["C"]["L"] = row["sts"]["M"]["C"]["L"][:3]
    check(shape(rows["ours"]) == shape(rows["java"]), "ours: %s, Java's: %s" % (shape(rows["ours"]), shape(rows["java"])))
    check(values(rows["ours"], "opr") == values(rows["java"], "opr"), "ranges differ: %s" % rows)

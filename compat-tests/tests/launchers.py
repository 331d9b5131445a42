"""The launchers of the client libraries start the daemon unmodified: its binary stands in for `java`."""
import os
import shlex
import subprocess

from harness import world as worlds
from harness.runner import test
from harness.world import check

NEW = "software.amazon.kinesis.multilang.MultiLangDaemon"
OLD = "com.amazonaws.services.kinesis.multilang.MultiLangDaemon"


def works(world, backend, name, command, cwd=None, shell=False):
    """Runs `command` ({properties}: the file, {name}: its base name) as a daemon and sees records and an orderly end."""
    stream, app = backend.stream(name, 1), backend.application(name)
    stream.put(20)
    daemon = world.daemon(app, name=name, stream=stream, **worlds.QUICK)
    words = [w.replace("{name}", os.path.basename(daemon.properties_file)) for w in command(daemon.properties_file)]
    if shell:
        words = ["sh", "-c", "exec " + " ".join(shlex.quote(w) for w in words)]
    daemon.command = words
    daemon.start()
    daemon.wait_for("%s: 20 records" % name, lambda: len(set(daemon.records())) == 20, 40)
    code, _ = daemon.stop()
    check(code == 143, "%s: the exit code after SIGTERM was %s, not 143" % (name, code))
    check(not app.given_back(), "%s: %s" % (name, app.given_back()))


@test("launcher-python")
def _(world):
    """amazon_kclpy_helper.py of kclpy 3.2.0: the line it prints, split at blanks, runs the daemon."""
    python = world.tools.kclpy()
    helper = os.path.join(os.path.dirname(python), "amazon_kclpy_helper.py")

    def printed(*more):
        def command(properties):
            words = [python, helper, "--print_command", "--java", world.binary, "--properties", properties, *more]
            ran = subprocess.run(words, capture_output=True, text=True)
            check(ran.returncode == 0, "the helper failed: %s" % ran.stderr)
            line = ran.stdout.strip()
            check(line.startswith(world.binary + " -cp ") and NEW in line, "the helper printed something else: %s" % line)
            return line.split()
        return command

    backend = world.embedded()
    works(world, backend, "python", printed())
    logback = world.path("logback.xml")
    with open(logback, "w") as f:
        f.write('<configuration><appender name="E" class="ch.qos.logback.core.ConsoleAppender">'
                '<target>System.err</target><encoder><pattern>mark %msg%n</pattern></encoder></appender>'
                '<root level="INFO"><appender-ref ref="E"/></root></configuration>')
    works(world, backend, "python-log", printed("--log-configuration", logback))
    with open(world.path("python-log.err")) as f:
        check("mark Using workerId: " in f.read(), "the log configuration was not used")


@test("launcher-stand-ins")
def _(world):
    """The command lines of Node, Ruby (rake), Haskell, .NET and Python 1.x."""
    backend = world.embedded()
    home = world.path("jdk")
    os.makedirs(os.path.join(home, "bin"))
    java = os.path.join(home, "bin", "java")
    os.symlink(world.binary, java)
    for program, version in ((world.binary, "-version"), (java, "-version"), (java, "--version")):
        ran = subprocess.run([program, version], capture_output=True, timeout=10)
        check(ran.returncode == 0, "`%s %s` ended with %s" % (os.path.basename(program), version, ran.returncode))
    jars = ":".join(world.path("jars", "%s-1.0.jar" % n) for n in ("amazon-kinesis-client", "netty-all", "slf4j-api"))

    def line(program, class_path, class_name, *rest):
        return lambda properties: [program, *class_path(os.path.dirname(properties)), class_name,
                                   *(w.replace("{p}", properties) for w in rest)]

    works(world, backend, "node", line(world.binary, lambda d: ["-cp", "%s:%s:%s" % (jars, world.directory, d)], NEW,
                                       "--properties-file", "{p}"))
    works(world, backend, "ruby", line(java, lambda d: ["-classpath", "%s:%s" % (jars, d)], NEW,
                                       "--properties-file", "{p}"), shell=True)
    works(world, backend, "haskell", line(java, lambda d: ["-cp", "%s:%s" % (d, jars)], OLD, "{p}"))
    works(world, backend, "dotnet", line(world.binary, lambda d: ["-cp", "%s:%s" % (jars, d)], NEW, "-p", "{p}"))
    # the base name is found through the class path, from wherever it is started
    works(world, backend, "python-1", line("env", lambda d: ["-C", "/", world.binary, "-cp", "%s:%s" % (jars, d)], OLD, "{name}"))

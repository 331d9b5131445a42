"""What ours decides about leases beside Java's own classes, on questions drawn anew."""
import os
import subprocess

from harness import world as worlds
from harness.runner import test
from harness.world import check

#: questions of each kind, and fleets of each kind
QUESTIONS, FLEETS = "1000", "3"


@test("decisions", heavy=True)
def _(world):
    """Drawn fleets, lists of shards, ends of shards, finished leases, tables and odd rows are decided about as by Java 3.5.1 and 2.5.4."""
    jars = {version: os.path.join(world.tools.java_worker(version), "*") for version in ("3.5.1", "2.5.4")}
    check(not any(" " in folder for folder in jars.values()), "the jars must be in a folder without blanks: %s" % jars)
    environment = dict(os.environ, KCL_QUESTIONS=QUESTIONS, ASSIGN_FLEETS=FLEETS,
                       KCL_JAVA="java -cp %s" % jars["3.5.1"], KCL_JAVA_2="java -cp %s" % jars["2.5.4"],
                       ASSIGN_JAVA="java --add-opens java.base/java.util=ALL-UNNAMED -cp %s compat-tests/java/Assign.java" % jars["3.5.1"])
    command = ["cargo", "test", "--lib", "--", "--ignored", "--test-threads", "1", "drawn_"]
    log = world.path("decisions.log")
    with open(log, "wb") as out:
        code = subprocess.run(command, cwd=worlds.REPO, env=environment, stdout=out, stderr=subprocess.STDOUT).returncode
    with open(log, errors="replace") as said:
        text = said.read()
    check(code == 0, "the tests that ask Java failed\n%s" % text[-4000:])
    check(" 0 passed" not in text, "no test asked Java\n%s" % text[-1000:])

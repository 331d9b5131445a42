"""Fleets with the Java daemon 2.5.4, whose workers take leases from each other and die of any row that is no lease."""
from harness.fleet import Fleet
from harness.judge import stolen
from harness.runner import test

JAVA = "2.5.4"
PHASE1 = "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1"
COMPATIBLE = "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X"

@test("fleet-254-there-and-back", waits=True)
def _(world):
    """Java 2.5.4 -> ours in PHASE1 -> Java 2.5.4: both take in peace, nothing but leases in the table; kill -9 of either."""
    with Fleet(world, leases_only=True) as f:
        f.known = stolen(f.failover, "java254")
        old = f.start(JAVA)
        f.flowing(180)
        ours = f.start("ours", clientVersionConfig=PHASE1)
        f.shared_by(old, ours, seconds=120)
        f.settled()
        f.split("shardId-000000000000")
        f.settled()
        f.stop(old)
        f.shared_by(ours, seconds=120)
        f.settled()
        back = f.start(JAVA)
        f.shared_by(ours, back, seconds=120)
        f.kill(ours)
        f.shared_by(back, seconds=120)
        f.settled()
        ours = f.start("ours", clientVersionConfig=PHASE1)
        f.shared_by(ours, back, seconds=120)
        f.kill(back)
        f.shared_by(ours, seconds=120)


@test("fleet-254-to-3x", heavy=True, waits=True)
def _(world):
    """Java 2.5.4 -> ours in PHASE1 -> COMPATIBLE_WITH_2X -> 3X beside Java 3.5.1, one worker at a time (about 16 minutes)."""
    with Fleet(world) as f:
        f.known = stolen(f.failover)
        old = f.start(JAVA)
        f.flowing(180)
        one = f.start("ours", clientVersionConfig=PHASE1)
        f.shared_by(old, one, seconds=120)
        two = f.start("ours", clientVersionConfig=PHASE1)
        f.shared_by(old, one, two, seconds=120)
        f.stop(old)
        f.shared_by(one, two, seconds=120)
        f.settled()
        compatible = [f.start("ours", clientVersionConfig=COMPATIBLE)]
        f.stop(one)
        f.shared_by(two, *compatible, seconds=120)
        compatible.append(f.start("3.5.1", clientVersionConfig=COMPATIBLE))
        f.stop(two)
        f.shared_by(*compatible, seconds=120)
        f.client_version("UPGRADE_FROM_2X", 60)
        f.client_version("3X_WITH_ROLLBACK", 840)
        f.settled()
        final = f.start("ours", clientVersionConfig="CLIENT_VERSION_CONFIG_3X")
        f.client_version("3X", 120)
        f.shared_by(final, *compatible, seconds=180)
        for w in compatible:
            f.stop(w)
        f.shared_by(final, seconds=180)

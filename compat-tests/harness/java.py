"""The Java daemons of a mixed fleet: how each version is started, and which keys it understands."""
import os

from .world import COMPAT

LOGBACK = os.path.join(COMPAT, "java", "logback.xml")
#: Small machines start several of these at once.
JVM = ["java", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
MAIN = "software.amazon.kinesis.multilang.MultiLangDaemon"
VERSIONS = ("3.5.1", "3.1.3", "2.5.4")
#: Keys that came with 3.x. Older daemons take no notice of a key they do not know, but let nobody believe it counts.
SINCE_3 = ("leaseAssignmentIntervalMillis", "clientVersionConfig")


def command(tools, version):
    """The command line of that version; its jars are fetched at the first call."""
    jars = tools.java_worker(version)
    return JVM + ["-cp", os.path.join(jars, "*"), MAIN, "--properties-file", "{properties}",
                  "--log-configuration", LOGBACK]


def properties(version, wanted):
    """The same file for an older daemon: what it cannot know is left out, and the provider is the first SDK's, under its old name."""
    if not version.startswith("2."):
        return wanted
    kept = {k: v for k, v in wanted.items() if k not in SINCE_3}
    del kept["AwsCredentialsProvider"]
    kept["AWSCredentialsProvider"] = "DefaultAWSCredentialsProviderChain"
    return kept

"""The lines of the log that runbooks look for."""
from harness.course import running
from harness.runner import test
from harness.world import check

PARENT = "shardId-000000000000"
WORDS = ["is the current Leader", "Current stream shard assignments", "Reached end of shard", "No need to block on parents",
         "lost lease"]


@test("runbook-lines")
def _(world):
    """A leader, its shards, the end of one, a child shard and a lost lease: each is said in Java's key words."""
    _, stream, app, daemon = running(world, shards=1)
    daemon.wait_for("the line of the assignments", lambda: WORDS[1] in daemon.output(), 60)
    stream.split(PARENT)
    daemon.wait_for("both child shards in work", lambda: len(
        {e["shard"] for e in daemon.events("initialize")} - {PARENT}) == 2, 90)
    # as another worker takes a lease: a new owner, and the counter one further
    taken = sorted(app.owners())[-1]
    stream.backend.dynamodb.update_item(
        TableName=app.name, Key={"leaseKey": {"S": taken}}, UpdateExpression="SET leaseOwner = :o ADD leaseCounter :one",
        ExpressionAttributeValues={":o": {"S": "somebody"}, ":one": {"N": "1"}})
    daemon.wait_for("the loss of %s" % taken, lambda: "lost lease" in daemon.output(), 60)
    missing = [words for words in WORDS if words not in daemon.output()]
    check(not missing, "the log does not say: %s" % ", ".join(missing))
    daemon.stop()

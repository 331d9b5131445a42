"""The shape of a DynamoDB request: what it demands, changes and asks for, without the values.

A shape is one line of text. Attributes stand with their types; placeholders of expressions are replaced by what they stand
for; the table is named by its part (leases, coordinator, metrics), a row by its kind. Two requests of one shape cannot be
told apart by anybody who shares the table, but for the values.
"""
import json
import os
import re
import sys

CAPTURED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "leases", "captured_shapes.txt")
#: Rows that are no lease, by their key.
ITEMS = ("Leader", "Migration3.0", "TableMigration3.5")
LEASE = re.compile(r"shardId-\d+$")
#: Tables by the end of their name.
ENDS = {"-CoordinatorState": "coordinator", "-WorkerMetricStats": "metrics"}


def table(name):
    return next((part for end, part in ENDS.items() if name.endswith(end)), "leases")


def kind(value):
    """The type of a value; of a list or map also those inside."""
    (name, inside), = value.items()
    if name == "M":
        return "M{%s}" % fields(inside)
    return "L[%s]" % ",".join(sorted({kind(v) for v in inside})) if name == "L" else name


def fields(item):
    return " ".join("%s:%s" % (name, kind(value)) for name, value in sorted(item.items()))


def row(key):
    """Which kind of row has this key: `leaseKey=lease`, `leaseKey=Leader`, `wid=worker`."""
    (name, value), = key.items()
    text = value["S"]
    what = "lease" if LEASE.match(text) else text if text in ITEMS else "worker"
    return "%s=%s" % (name, what)


def expected(conditions):
    def one(c):
        exists = {None: "", True: "exists and ", False: "absent"}[c.get("Exists")]
        return exists + (kind(c["Value"]) if "Value" in c else "")
    return ", ".join("%s is %s" % (name, one(c)) for name, c in sorted(conditions.items()))


def updates(changes):
    def one(c):
        return c["Action"] + (" " + kind(c["Value"]) if "Value" in c else "")
    return ", ".join("%s %s" % (name, one(c)) for name, c in sorted(changes.items()))


def expression(text, request):
    """The expression with attributes and types in the place of its placeholders; the order of a SET does not count."""
    for name, attribute in request.get("ExpressionAttributeNames", {}).items():
        text = re.sub(re.escape(name) + r"\b", attribute, text)
    for name, value in request.get("ExpressionAttributeValues", {}).items():
        text = re.sub(re.escape(name) + r"\b", kind(value), text)
    text = re.sub(r"\s*=\s*", " = ", " ".join(text.split()))
    return "SET " + ", ".join(sorted(text[4:].split(", "))) if text.startswith("SET ") else text


def parts(request):
    """Everything of one request, or of one member of a transaction, that is not its table."""
    known = {"TableName", "ExpressionAttributeNames", "ExpressionAttributeValues", "ExclusiveStartKey"}
    found = []
    if "Key" in request:
        found.append("[%s]" % row(request["Key"]))
    if "Item" in request:
        item = request["Item"]
        key = next(name for name in ("leaseKey", "key", "wid") if name in item)
        found.append("[%s] {%s}" % (row({key: item[key]}), fields({k: v for k, v in item.items() if k != key})))
    for name, read in (("Expected", expected), ("AttributeUpdates", updates)):
        if request.get(name):
            found.append("%s(%s)" % (name, read(request[name])))
    for name in sorted(request):
        if name.endswith("Expression"):
            found.append("%s(%s)" % (name, expression(request[name], request)))
        elif name == "ConsistentRead" and not request[name]:
            continue                # what is meant without it, too
        elif name not in known | {"Key", "Item", "Expected", "AttributeUpdates"}:
            value = request[name]
            if name == "AttributeDefinitions":
                value = sorted(value, key=json.dumps)
            found.append("%s=%s" % (name, value if isinstance(value, str) else json.dumps(value, sort_keys=True)))
    return found


def shape(op, request):
    if op == "TransactWriteItems":
        members = {"%s %s %s" % (what, table(m["TableName"]), " ".join(parts(m)))
                   for member in request["TransactItems"] for what, m in member.items()}
        return "TransactWriteItems " + "; ".join(sorted(members))
    return " ".join(["%s %s" % (op, table(request["TableName"]))] + parts(request))


def captured():
    """{(capture, make): shapes} of what Java sent: `leases/captured_shapes.txt`."""
    found = {}
    with open(CAPTURED) as f:
        for line in f.read().split("\n"):
            if line.startswith("# "):
                shapes = found[tuple(line[2:].split())] = set()
            elif line:
                shapes.add(line)
    return found


def main(folder):
    """Prints `captured_shapes.txt`, made of the captures in `folder`: NAME/ops.jsonl, as leases/ddb_proxy.py records them."""
    for name in sorted(os.listdir(folder)):
        makes = {}
        with open(os.path.join(folder, name, "ops.jsonl")) as f:
            for line in map(json.loads, f):
                make = {"w313": "3.1.3", "w254": "2.5.4", "r1": "foreign"}.get(line["w"], "3.5.1")
                makes.setdefault(make, set()).add(shape(line["op"], line["req"]))
        for make, found in sorted(makes.items()):
            print("\n".join(["# %s %s" % (name, make)] + sorted(found)))


if __name__ == "__main__":
    main(sys.argv[1])

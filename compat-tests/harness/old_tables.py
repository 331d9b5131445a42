"""The tables as a killed Java worker of an older version leaves them; rows as captured, hash ranges those of the stream.

The rows of 3.1.3 and 2.5.4 say nothing of their kind (`entityType` came with 3.5).
"""
OLD_313, OLD_254 = "old313", "old254"


def make(dynamodb, name, key, rows):
    dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                          AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}])
    for row in rows:
        dynamodb.put_item(TableName=name, Item=row)


def leases(stream, owner, **more):
    return [{"leaseKey": {"S": s["ShardId"]}, "leaseOwner": {"S": owner}, "leaseCounter": {"N": "32"},
             "checkpoint": {"S": "TRIM_HORIZON"}, "checkpointSubSequenceNumber": {"N": "0"},
             "ownerSwitchesSinceCheckpoint": {"N": "0"}, "startingHashKey": {"S": s["HashKeyRange"]["StartingHashKey"]},
             "endingHashKey": {"S": s["HashKeyRange"]["EndingHashKey"]}, **more} for s in stream.shards()]


def empty_254(app):
    """The table as 2.5.4 makes it."""
    make(app.backend.dynamodb, app.name, "leaseKey", [])


def left_by_254(app, stream):
    """One table, and nothing in it but leases."""
    make(app.backend.dynamodb, app.name, "leaseKey", leases(stream, OLD_254))


def left_by_313(app, stream, lock_millis):
    """Three tables; the lock of the leader that died runs out `lock_millis` after the first look at it."""
    earlier = {"M": {"cv": {"S": "CLIENT_VERSION_INIT"}, "mb": {"S": OLD_313}, "mts": {"N": "1795257585807"}}}
    version = {"key": {"S": "Migration3.0"}, "cv": {"S": "CLIENT_VERSION_3X"}, "mb": {"S": OLD_313},
               "mts": {"N": "1795257585808"}, "h": {"L": [earlier]}}
    lock = {"key": {"S": "Leader"}, "ownerName": {"S": OLD_313}, "leaseDuration": {"S": str(lock_millis)},
            "recordVersionNumber": {"S": "f39d2b46-33a1-44b8-8181-bc630df1e2a9"}}
    load = {"wid": {"S": OLD_313}, "lut": {"N": "1700000000"}, "sts": {"M": {}}, "opr": {"M": {}}}
    dynamodb = app.backend.dynamodb
    make(dynamodb, app.name, "leaseKey", leases(stream, OLD_313, throughputKBps={"N": "0.025979"}))
    make(dynamodb, app.name + "-CoordinatorState", "key", [version, lock])
    make(dynamodb, app.name + "-WorkerMetricStats", "wid", [load])


def empty_313(app):
    """The two tables of 3.0-3.4 beside the lease table, with nothing in them."""
    make(app.backend.dynamodb, app.name + "-CoordinatorState", "key", [])
    make(app.backend.dynamodb, app.name + "-WorkerMetricStats", "wid", [])

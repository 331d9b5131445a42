#!/usr/bin/env python3
"""Takes every record and forgets to checkpoint, but for the end of a shard: what it was given would come again."""
import json
import sys

for line in sys.stdin:
    action = json.loads(line)["action"]
    if action == "shardEnded":
        print('{"action":"checkpoint"}', flush=True)
        sys.stdin.readline()
    print(json.dumps({"action": "status", "responseFor": action}), flush=True)

#!/bin/sh
# Fetches jars through Maven: fetch.sh NAME DIR, with NAME.xml beside this file: dynamodb-local, kcl-3.5.1, fleet-3.5.1, fleet-3.1.3, fleet-2.5.4
# kcl-3.5.1 is everything the reference daemon needs but its own small jar, which is in no registry.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
name=${1:?usage: fetch.sh NAME DIR}
out=${2:?usage: fetch.sh NAME DIR}
mkdir -p "$out"
out=$(cd "$out" && pwd)
[ -e "$here/$name.xml" ] || { echo "fetch.sh: no such set of jars: $name" >&2; exit 2; }
mvn -B -ntp -q -f "$here/$name.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$out"
touch "$out/.complete"

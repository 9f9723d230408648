#!/usr/bin/env bash
# The README's first command, as a new user types it, on the real engine: a URL that curl answers with a
# sealed value; again; with a changed file (refused unasked, updated with --yes); the real `phala deploy` of the same file beside it; --stop.
# Then without an engine: it says so, and the page says "simulated".
#
#   conformance/first-command/run.sh BINARY DIR
set -euo pipefail
casemate=$(realpath "$1")
dir=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
passed=0

ok() { passed=$((passed + 1)); echo "ok - $1"; }
fail() { echo "NOT OK - $1" >&2; echo "$passed passed, 1 failed"; exit 1; }
json() { node -pe "const d = JSON.parse(require('fs').readFileSync(0, 'utf8')); $1"; }

export CASEMATE_DATA_DIR="$dir/docker"
unset CASEMATE_API_URL CASEMATE_API_KEY PHALA_CLOUD_API_PREFIX PHALA_CLOUD_API_KEY || true
trap '"$casemate" up examples/hello --stop >/dev/null 2>&1 || true; pkill -TERM -f "data-dir $dir/" || true' EXIT

first=$("$casemate" up examples/hello --no-follow --json)
id=$(json d.id <<<"$first") || fail "up --json prints one document: $first"
url=$(json 'd.urls[0]' <<<"$first")
ok "up examples/hello runs: $id"

page=$(curl -fsS --max-time 10 "$url") || fail "curl $url"
grep -q "hello from a sealed env var" <<<"$page" || fail "the sealed value is on the page: $page"
ok "curl $url shows the sealed value"

again=$("$casemate" up examples/hello --no-follow --json)
[ "$(json d.id <<<"$again")" = "$id" ] || fail "up again finds the same CVM: $again"
ok "up again on an unchanged file finds that CVM"

mkdir -p "$dir/changed/hello"
cp examples/hello/docker-compose.yml examples/hello/.env "$dir/changed/hello/"
sed -i 's/<h1>/<h1>changed: /' "$dir/changed/hello/docker-compose.yml"
if refused=$("$casemate" up "$dir/changed/hello" --no-follow 2>&1 </dev/null); then fail "a changed file is refused without --yes"; fi
grep -q -- "--yes" <<<"$refused" || fail "the refusal names the way out: $refused"
grep -q "^  +.*<h1>changed: " <<<"$refused" || fail "the refusal shows the difference: $refused"
curl -fsS --max-time 10 "$url" | grep -q "<h1>hello" || fail "refused, and changed all the same"
ok "a changed file is refused without --yes, with the difference and the way out"

updated=$("$casemate" up "$dir/changed/hello" --no-follow --yes --json) || fail "up --yes: $updated"
[ "$(json d.id <<<"$updated")" = "$id" ] && [ "$(json d.outcome <<<"$updated")" = updated ] || fail "up --yes updates that CVM: $updated"
curl -fsS --max-time 10 "$url" | grep -q "<h1>changed: hello from a sealed env var" || fail "the new content and the sealed value are at $url"
"$casemate" up examples/hello --no-follow --yes >/dev/null 2>&1 || fail "up --yes of the first file again"
curl -fsS --max-time 10 "$url" | grep -q "<h1>hello from a sealed env var" || fail "the first content is back at $url"
ok "with --yes it is updated, and curl shows the new content"

PHALA_CLOUD_API_PREFIX=$(cat "$CASEMATE_DATA_DIR/api.url") PHALA_CLOUD_API_KEY=$(cat "$CASEMATE_DATA_DIR/admin.key")
export PHALA_CLOUD_API_PREFIX PHALA_CLOUD_API_KEY PHALA_CLOUD_DIR="$dir/phala" CI=1
phala="node $root/conformance/phala-cli/node_modules/phala/dist/index.js"
(cd "$dir" && HOME="$dir" $phala deploy -c "$root/examples/hello/docker-compose.yml" -e "$root/examples/hello/.env" -n hello-beside --json) >"$dir/phala.log" 2>&1 ||
  fail "phala deploy beside it: $(cat "$dir/phala.log")"
unset PHALA_CLOUD_API_PREFIX PHALA_CLOUD_API_KEY
"$casemate" cvms start hello-beside --wait >/dev/null 2>&1 || fail "the CVM of phala deploy runs"
beside=$("$casemate" cvms get hello-beside --json | json 'd.endpoints[0].app')
curl -fsS --max-time 10 "$beside" | grep -q "hello from a sealed env var" || fail "phala's CVM answers at $beside"
curl -fsS --max-time 10 "$url" >/dev/null || fail "the first one still answers"
ok "the real phala deploy of the same file runs beside it"

"$casemate" cvms delete hello-beside --yes --wait >/dev/null 2>&1
"$casemate" up examples/hello --stop >/dev/null 2>&1 || fail "up --stop"
curl -fs --max-time 3 "$url" >/dev/null 2>&1 && fail "stopped, and still there"
[ -e "$CASEMATE_DATA_DIR/serve.pid" ] && fail "the instance that up started ended with its last CVM"
ok "up --stop ends it, and the instance with it"

"$casemate" up examples/hello --no-follow >/dev/null 2>&1 || fail "up after --stop"
curl -fsS --max-time 10 "$url" | grep -q "hello from a sealed env var" || fail "the data and the URL are there again"
"$casemate" cvms delete hello --yes --wait >/dev/null 2>&1 || fail "delete"
left=$(docker ps -aq --filter label=casemate.cvm --filter "name=casemate-" | wc -l)
ok "deleted ($left containers of other tests on this engine)"
pkill -TERM -f "data-dir $dir/docker" || true

export CASEMATE_DATA_DIR="$dir/sim" DOCKER_HOST="unix://$dir/no-engine.sock"
said=$("$casemate" up examples/hello --no-follow 2>&1) || fail "without an engine: $said"
grep -qi "simulat" <<<"$said" || fail "it says that it is simulated: $said"
url=$("$casemate" cvms get hello --json | json 'd.endpoints[0].app')
curl -fsS --max-time 10 "$url" | grep -qi "simulated" || fail "the page says simulated"
"$casemate" up examples/hello --stop >/dev/null 2>&1
ok "without an engine it says so, and the page says simulated"

echo "$passed passed, 0 failed"

#!/usr/bin/env bash
# The README's two commands, read from the README and run as written in a clean clone of the commit that is
# checked out; then what a new user does next: the same command again, a changed file (refused unasked, updated
# with --yes), the real `phala deploy` of the same file beside it, --stop; and all of it without an engine.
#
#   conformance/first-command/run.sh DIR          the first command; the second is compared with .ci/run
#   conformance/first-command/run.sh DIR --both   the second command, too (the whole suite, half an hour)
set -euo pipefail
dir=$(mkdir -p "$1" && realpath "$1")
both=${2:-}
root=$(cd "$(dirname "$0")/../.." && pwd)
passed=0

ok() { passed=$((passed + 1)); echo "ok - $1"; }
fail() { echo "NOT OK - $1" >&2; echo "$passed passed, 1 failed"; exit 1; }
json() { node -pe "const d = JSON.parse(require('fs').readFileSync(0, 'utf8')); $1"; }

# command NUMBER: the text of that code block under "## Two commands".
command_of() {
  awk -v want="$1" '/^## /{here=($0=="## Two commands")} here&&/^```/{if(inside){inside=0}else{inside=1;n++};next} here&&inside&&n==want' \
    "$root/README.md"
}
first=$(command_of 1)
second=$(command_of 2)
[ -n "$first" ] && [ -n "$second" ] && [ -z "$(command_of 3)" ] || fail "README.md has two commands under '## Two commands'"
grep -qxF "$second" "$root/.ci/run" || fail ".ci/run runs the README's second command: $second"
ok "README.md names two commands: '$first' and '$second'; the second is what .ci/run runs"

clone=$dir/clone
git clone --quiet "$root" "$clone"
[ -z "$(git -C "$root" status --porcelain --untracked-files=no)" ] || echo "note: uncommitted changes are not in the clone"
casemate=$clone/target/release/casemate

export CASEMATE_DATA_DIR="$dir/docker"
unset CARGO_TARGET_DIR CASEMATE_API_URL CASEMATE_API_KEY PHALA_CLOUD_API_PREFIX PHALA_CLOUD_API_KEY || true
trap 'cd "$clone"; [ ! -x "$casemate" ] || "$casemate" up examples/hello --stop >/dev/null 2>&1 || true; pkill -TERM -f "data-dir $dir/" || true' EXIT
cd "$clone"

# first_command NAME: runs it as written until the CVM runs, then Ctrl-C. Its output is in NAME.log, the URL in $url.
first_command() {
  local log=$dir/$1.log pid began=$SECONDS
  setsid bash -c "$first" >"$log" 2>&1 </dev/null &
  pid=$!
  until grep -q '^  http' "$log"; do
    kill -0 "$pid" 2>/dev/null || fail "'$first' ended early: $(tail -n 30 "$log")"
    [ $((SECONDS - began)) -lt 1800 ] || fail "'$first' is not done after 30 minutes: $(tail -n 30 "$log")"
    sleep 0.2
  done
  echo "'$first' took $((SECONDS - began)) s, the build included"
  url=$(grep -m1 '^  http' "$log" | tr -d ' ')
  kill -INT -- "-$pid"
  wait "$pid" || fail "Ctrl-C ends following with exit code 0: $(tail -n 5 "$log")"
}

first_command with-engine
grep -v '^ *\(Compiling\|Downloading\|Downloaded\|Updating\|Locking\|Adding\) ' "$dir/with-engine.log" | tail -n 20
page=$(curl -fsS --max-time 10 "$url") || fail "curl $url"
grep -q "hello from a sealed env var" <<<"$page" || fail "the sealed value is on the page: $page"
grep -q "no TEE" "$dir/with-engine.log" || fail "it says that the node has no TEE"
ok "'$first' brings up a CVM; curl $url shows the sealed value"

id=$("$casemate" cvms get hello --json | json d.id)

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
first_command without-engine
grep -qi "simulated" "$dir/without-engine.log" || fail "without an engine it says that it is simulated: $(tail -n 20 "$dir/without-engine.log")"
curl -fsS --max-time 10 "$url" | grep -qi "simulated" || fail "the page says simulated"
"$casemate" up examples/hello --stop >/dev/null 2>&1
ok "'$first' without an engine: it says so, and the page says simulated"

# A start that fails names what is wrong and what to do.
mkdir -p "$dir/broken/serve.log"
if said=$("$casemate" up examples/hello --no-follow --data-dir "$dir/broken" 2>&1 </dev/null); then fail "a start that cannot work fails"; fi
grep -q "^  try: " <<<"$said" || fail "a failed start says what to do: $said"
ok "a failed start says what to do"

if [ "$both" = --both ]; then
  unset CASEMATE_DATA_DIR DOCKER_HOST
  began=$SECONDS
  bash -c "$second" || fail "'$second'"
  ok "'$second' in the clean clone took $((SECONDS - began)) s"
fi

echo "$passed passed, 0 failed"

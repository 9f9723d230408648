#!/usr/bin/env bash
# Everything the tests need from outside Rust, in one place.
#
#   scripts/test-env.sh names      *.localhost resolves for glibc and Node
#   scripts/test-env.sh docker     a Docker engine answers
#   scripts/test-env.sh compose    Compose v2 as a CLI plugin
#   scripts/test-env.sh postgres   a private PostgreSQL in target/test-env/pg
#   scripts/test-env.sh images     busybox:1.36 and bash:5, without a registry
#   scripts/test-env.sh clients    the real phala CLI and JavaScript SDK (npm ci)
#   scripts/test-env.sh chain      anvil, a local chain, and the compiler of contracts/ (npm ci)
#   scripts/test-env.sh all        all of them
#
# Each one looks first and does nothing when the thing is there (well under two
# seconds). Otherwise it installs or starts it where it may: as root on Debian.
# Where it may not, it says what is missing and how to get it, and exits 3.
# It never skips silently.
#
# Result: target/test-env/env, lines `export K=V`:
#   DOCKER_HOST            only when the engine is not at the default address
#   TEST_POSTGRES_URL      postgres://postgres@127.0.0.1:PORT/postgres
#   TEST_CLIENTS  the directory with node_modules
#   TEST_IMAGE    the image the test composes use
#   TEST_ANVIL    the program anvil
# Logs of the daemons: target/test-env/*.log. Daemons outlive this script.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
OUT=$ROOT/target/test-env
ENV_FILE=$OUT/env
IMAGE=busybox:1.36
BASH_IMAGE=bash:5
CLIENTS=$ROOT/conformance/phala-cli
CONTRACTS=$ROOT/contracts
ANVIL=1.7.1 # as in contracts/package.json
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # dockerd, iptables

# ---------------------------------------------------------------- small tools

say() { printf 'test-env: %s\n' "$*" >&2; }

# missing WHAT HOW...: the one way to give up. Exit code 3 means "not to be had
# here, and this is what to do", nothing else uses it.
missing() {
  local what=$1
  shift
  say "MISSING: $what"
  printf 'test-env:   %s\n' "$@" >&2
  exit 3
}

have() { command -v "$1" >/dev/null 2>&1; }

os_id() { sed -n "s/^ID=//p" /etc/os-release 2>/dev/null || true; }

may_install() { [ "$(id -u)" = 0 ] && have apt-get && [ "$(os_id)" = debian ]; }

# set_env KEY VALUE: write or replace one line of the env file, atomically; an
# empty value removes it.
set_env() {
  local key=$1 value=$2 tmp
  case $value in
    *[!A-Za-z0-9_./:@%+=,-]*) value=$(printf '%q' "$value") ;;
  esac
  tmp=$(mktemp "$OUT/.env.XXXXXX")
  { [ ! -f "$ENV_FILE" ] || grep -v "^export $key=" "$ENV_FILE" || true; } >"$tmp"
  [ -z "$value" ] || printf 'export %s=%s\n' "$key" "$value" >>"$tmp"
  chmod 0644 "$tmp"
  mv -f "$tmp" "$ENV_FILE"
}

# apt_install PACKAGE...: quiet unless it fails; refreshes the lists only when
# the package is unknown (a fresh machine) or cannot be fetched (old lists).
apt_install() {
  local log=$OUT/apt.log
  say "installing $*"
  apt_get install "$@" >>"$log" 2>&1 && return 0
  apt_get update >>"$log" 2>&1 || true
  apt_get install "$@" >>"$log" 2>&1 && return 0
  tail -n 20 "$log" >&2
  return 1
}

apt_get() {
  local verb=$1
  shift
  DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
    "$verb" --no-install-recommends "$@" </dev/null
}

# wait_for SECONDS COMMAND...: poll until the command succeeds or time is up.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

# daemon LOG COMMAND...: run in the background in a session of its own, holding
# none of our files open: a caller that waits for end of file must not hang, and
# the lock (descriptor 9) must not outlive us. Its pid is $! afterwards.
daemon() {
  local log=$1 session=setsid
  shift
  have setsid || session='nice' # macOS has no setsid
  (
    cd /
    exec "$session" nohup "$@" </dev/null >>"$log" 2>&1 9>&-
  ) &
}

# pid_is PIDFILE NAME: the process in the file lives and is a NAME. Machines
# are stopped hard and number their processes anew, so a pid alone says nothing.
pid_is() {
  local pid name
  pid=$(head -n 1 "$1" 2>/dev/null) || return 1
  [ -n "$pid" ] || return 1
  if [ -d /proc/self ]; then # a small Debian has no ps
    name=$(cat "/proc/$pid/comm" 2>/dev/null) || return 1
  else
    name=$(ps -o comm= -p "$pid") || return 1
  fi
  [ "${name##*/}" = "$2" ]
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# ---------------------------------------------------------------------- names

names() {
  names_ok || names_install
  say "names: *.localhost resolves to loopback"
}

# `getent hosts` rather than `ahosts`: that one wants an address that is not
# loopback (AI_ADDRCONFIG) and fails on a machine without a network.
names_ok() {
  local name=test-$$.localhost
  if have getent; then
    getent hosts "$name" | grep -Eq '^(::1|127\.)'
  else
    ping -c 1 "$name" >/dev/null 2>&1 # macOS has no getent
  fi
}

names_install() {
  may_install || missing "*.localhost does not resolve" \
    "Debian, Ubuntu: apt-get install libnss-myhostname" \
    "others: nss-myhostname or systemd-resolved, and 'myhostname' before 'dns' in /etc/nsswitch.conf"
  apt_install libnss-myhostname || missing "libnss-myhostname" "see $OUT/apt.log"
  # The package edits nsswitch.conf itself, except where that was changed by hand.
  grep -Eq '^hosts:.*\bmyhostname\b' /etc/nsswitch.conf ||
    sed -i -E 's/^(hosts:.*\bfiles\b)/\1 myhostname/' /etc/nsswitch.conf
  names_ok || missing "*.localhost does not resolve in spite of libnss-myhostname" \
    "look at the line 'hosts:' of /etc/nsswitch.conf"
}

# --------------------------------------------------------------------- docker

docker_cmd() {
  docker_ok || docker_start
  set_env DOCKER_HOST "${DOCKER_HOST:-}"
  say "docker: $(docker info --format '{{.ServerVersion}}, {{.Driver}}, cgroup v{{.CgroupVersion}} ({{.CgroupDriver}})')"
}

docker_ok() { have docker && docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

docker_start() {
  [ -z "${DOCKER_HOST:-}" ] || missing "no Docker engine at DOCKER_HOST=$DOCKER_HOST" \
    "start it, or unset DOCKER_HOST"
  if [ -d /run/systemd/system ] && have systemctl && systemctl start docker >/dev/null 2>&1 &&
    wait_for 60 docker_ok; then
    return 0
  fi
  may_install || missing "no Docker engine answers" \
    "install and start one: https://docs.docker.com/engine/install/ (any Docker-compatible engine does)" \
    "rootless or elsewhere: set DOCKER_HOST"
  if ! { have docker && have dockerd && have iptables; }; then
    apt_install docker.io iptables || missing "docker.io" "see $OUT/apt.log"
  fi
  docker_ok || docker_daemon # its package may have started it
}

# The defaults are right on Debian 12 (overlay2, cgroupfs, iptables-nft; cgroup
# v1 and v2). Only the address pools are not: Docker's own hold about 30
# networks, one test run of many CVMs with networks of their own needs more.
docker_daemon() {
  local log=$OUT/dockerd.log
  docker_clean_stale
  say "starting dockerd"
  daemon "$log" dockerd --default-address-pool base=10.213.0.0/16,size=26
  wait_for 60 docker_ok && return 0
  tail -n 20 "$log" >&2
  missing "dockerd does not start here" "see $log" \
    "it needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN, mounted cgroups and working iptables"
}

# Left over from a machine that was stopped hard: dockerd would take any process
# which now has that number for itself, or for its containerd.
docker_clean_stale() {
  pid_is /var/run/docker.pid dockerd || rm -f /var/run/docker.pid
  pid_is /var/run/docker/containerd/containerd.pid containerd ||
    rm -f /var/run/docker/containerd/containerd.pid
}

# -------------------------------------------------------------------- compose

compose() {
  compose_ok || compose_install
  say "compose: $(docker compose version --short)"
}

# v1 (`docker-compose` in Python) is refused: other project names, no `configs`
# with content, no JSON output.
compose_ok() {
  local version
  version=$(docker compose version --short 2>/dev/null) || return 1
  version=${version#v}
  [ "${version%%.*}" -ge 2 ] 2>/dev/null
}

compose_install() {
  have docker || missing "the docker command" "run: $0 docker"
  [ "$(os_id)" = debian ] || missing "Compose v2" \
    "https://docs.docker.com/compose/install/ (Ubuntu: apt-get install docker-compose-v2)" \
    "'docker compose version' must print v2 or newer"
  compose_from_debian || missing "Compose v2 from Debian's archive" "see $OUT/apt.log"
  compose_ok || missing "Compose v2: the plugin was installed, but 'docker compose version' fails" \
    "is there another one in ~/.docker/cli-plugins or /usr/libexec/docker/cli-plugins?"
}

# Debian 12 ships Compose v1, Debian 13 v2.26 as one static program. It is taken
# from there through apt, signatures checked, with lists and sources of our own:
# the machine's apt configuration stays as it is.
compose_from_debian() {
  local apt=$OUT/apt log=$OUT/apt.log plugins=/usr/local/lib/docker/cli-plugins
  [ "$(id -u)" = 0 ] || plugins=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins
  rm -rf "$apt"
  mkdir -p "$apt"/{sources,lists/partial,archives/partial,unpacked} "$plugins"
  debian_source trixie >"$apt/sources/trixie.sources"
  say "fetching Compose v2 from Debian 13"
  apt_private "$apt" update >>"$log" 2>&1 || return 1
  (cd "$apt" && apt_private "$apt" download docker-compose) >>"$log" 2>&1 || return 1
  dpkg-deb -x "$apt"/docker-compose_*.deb "$apt/unpacked"
  install -m 0755 "$apt/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$plugins/docker-compose"
  rm -rf "$apt"
}

# The mirror this machine already uses, for another release.
debian_source() {
  local mirror
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep -v '^[[:space:]]*#' | grep -Eo 'https?://[^ ]+' | grep -v security | grep -E '/debian/?$' | head -n 1) || true
  printf '%s\n' 'Types: deb' "URIs: ${mirror:-http://deb.debian.org/debian}" "Suites: $1" \
    'Components: main' 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg'
}

apt_private() {
  local apt=$1
  shift
  apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/sources" \
    -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt" -o APT::Sandbox::User=root \
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@" </dev/null
}

# ------------------------------------------------------------------- postgres

postgres_cmd() {
  local given=${TEST_POSTGRES_URL:-}
  pg_as
  PG=$(pg_place)
  if [ -n "$given" ] && [ "$given" != "$(pg_url)" ]; then # the caller brings one
    set_env TEST_POSTGRES_URL "$given"
    say "postgres: as given in TEST_POSTGRES_URL"
    return 0
  fi
  pg_answers || pg_up
  set_env TEST_POSTGRES_URL "$(pg_url)"
  say "postgres: ready, $(pg_url)"
}

pg_url() { printf 'postgres://postgres@127.0.0.1:%s/postgres' "$(cat "$PG/port" 2>/dev/null)"; }

# Its programs: in the path, else where Debian keeps them (not in the path).
pg_bin() {
  local found
  found=$(command -v "$1" || true)
  [ -n "$found" ] || found=$(printf '%s\n' /usr/lib/postgresql/*/bin/"$1" | sort -V | tail -n 1)
  [ -x "$found" ] && printf '%s' "$found"
}

# postgres refuses root: PG_AS is the prefix that makes it run as somebody else.
pg_as() {
  PG_USER=$(id -un)
  PG_AS=(env)
  [ "$(id -u)" = 0 ] || return 0
  PG_USER=postgres
  id postgres >/dev/null 2>&1 || PG_USER=nobody
  PG_AS=(setpriv "--reuid=$PG_USER" "--regid=$(id -g "$PG_USER")" --clear-groups --)
}

# Who must be able to reach the directory; and the path of a unix socket may
# have 107 bytes at most.
pg_place() {
  local here=$OUT/pg elsewhere
  elsewhere=/var/tmp/casemate-test-pg-$(id -u)-$(printf '%s' "$ROOT" | cksum | cut -d ' ' -f 1)
  if [ "${#here}" -le 80 ] && "${PG_AS[@]}" test -x "$OUT"; then
    printf '%s' "$here"
  else
    printf '%s' "$elsewhere"
  fi
}

# An SSLRequest is the smallest question of the protocol that gets an answer
# (one byte, S or N), and a shell can ask it.
pg_answers() {
  local port
  port=$(cat "$PG/port" 2>/dev/null) || return 1
  pid_is "$PG/data/postmaster.pid" postgres || return 1
  (
    exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
    printf '\0\0\0\10\4\322\26\57' >&3
    IFS= read -r -t 2 -n 1 byte <&3 && [[ $byte == [NS] ]]
  ) 2>/dev/null
}

pg_up() {
  if ! { pg_bin postgres && pg_bin initdb; } >/dev/null; then
    pg_install
  fi
  pg_stop_stale
  if [ -f "$PG/data/PG_VERSION" ] && pg_start; then
    return 0
  fi
  pg_init
  if pg_start; then
    return 0
  fi
  tail -n 20 "$OUT/postgres.log" >&2
  missing "PostgreSQL does not start" "see $OUT/postgres.log"
}

pg_install() {
  may_install || missing "PostgreSQL (postgres, initdb)" \
    "install PostgreSQL 15 or newer, or set TEST_POSTGRES_URL to a database that tests may fill" \
    "Debian, Ubuntu: apt-get install postgresql"
  # No cluster on port 5432 that nobody asked for.
  mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/casemate-test.conf
  apt_install postgresql || missing "postgresql" "see $OUT/apt.log"
  pg_as # the package brings the user
}

# What a killed machine leaves behind: a postmaster.pid whose process is gone or
# is something else now. Ours but deaf: end it the hard way.
pg_stop_stale() {
  local file=$PG/data/postmaster.pid pid
  [ -f "$file" ] || return 0
  pid=$(head -n 1 "$file")
  if pid_is "$file" postgres; then
    kill -QUIT "$pid" 2>/dev/null || true
    wait_for 10 gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$file"
}

pg_init() {
  say "creating a PostgreSQL cluster in $PG"
  rm -rf "$PG"
  mkdir -p "$PG"/{data,sock}
  chmod 0700 "$PG/data"
  [ "$(id -u)" != 0 ] || chown -R "$PG_USER" "$PG"
  (cd / && "${PG_AS[@]}" "$(pg_bin initdb)" -D "$PG/data" -U postgres --auth=trust -E UTF8 --no-locale --no-sync) \
    >>"$OUT/postgres.log" 2>&1 || missing "initdb failed" "see $OUT/postgres.log"
}

# The port it had, else a free one; somebody may take it between our look and
# the start, so try a few.
pg_start() {
  local port
  port=$(cat "$PG/port" 2>/dev/null || true)
  for _ in 1 2 3 4 5 6 7 8; do
    if [ -z "$port" ] || port_taken "$port"; then
      port=$((20000 + RANDOM % 10000))
      continue
    fi
    echo "$port" >"$PG/port"
    pg_spawn "$port"
    if wait_for 20 pg_settled "$!" && pg_answers; then
      return 0
    fi
    sleep 0.2 # children of a killed one still hold its shared memory
  done
  return 1
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Durability is off: nobody needs this data after a crash (a broken cluster is
# simply made anew).
pg_spawn() {
  daemon "$OUT/postgres.log" "${PG_AS[@]}" "$(pg_bin postgres)" -D "$PG/data" -p "$1" \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories="$PG/sock" -c max_connections=300 \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
    -c wal_level=minimal -c max_wal_senders=0
}

pg_settled() { pg_answers || gone "$1"; }

# --------------------------------------------------------------------- images

images() {
  docker_ok || missing "no Docker engine answers" "run: $0 docker"
  image_present "$IMAGE" || image_make "$IMAGE" busybox_rootfs sh
  image_present "$BASH_IMAGE" || image_make "$BASH_IMAGE" bash_rootfs bash
  set_env TEST_IMAGE "$IMAGE"
  say "images: $IMAGE, $BASH_IMAGE"
}

image_present() { docker image inspect "$1" >/dev/null 2>&1; }

# From Debian's static programs where we can (no registry needed), else the
# public image. Both serve the same composes: sh, httpd with CGI, wget, nc.
image_make() {
  local name=$1 rootfs=$2 command=$3 dir
  if ! { have busybox && have bash-static; } && may_install; then
    apt_install busybox-static bash-static || missing "busybox-static, bash-static" "see $OUT/apt.log"
  fi
  if ! { have busybox && have bash-static; }; then
    docker pull -q "$name" >/dev/null && return 0
    missing "the image $name" "docker pull $name" \
      "or on Debian, Ubuntu: apt-get install busybox-static bash-static, and run this again"
  fi
  say "making the image $name"
  dir=$(mktemp -d "$OUT/rootfs.XXXXXX")
  "$rootfs" "$dir"
  tar -C "$dir" --numeric-owner --owner=0 --group=0 -c . |
    docker import --change "CMD [\"$command\"]" \
      --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      --change 'LABEL casemate.test-image=made-from-debian-static-programs' \
      - "docker.io/library/$name" >/dev/null
  rm -rf "$dir"
}

busybox_rootfs() {
  local dir=$1 busybox applet
  busybox=$(command -v busybox)
  ! ldd "$busybox" >/dev/null 2>&1 || missing "a static busybox ($busybox is not)" "apt-get install busybox-static"
  mkdir -p "$dir"/{bin,dev,etc,home,proc,root,sys,tmp,usr/bin,usr/local/bin,usr/sbin,var/www}
  chmod 0755 "$dir"
  chmod 1777 "$dir/tmp"
  chmod 0700 "$dir/root"
  cp "$busybox" "$dir/bin/busybox"
  for applet in $("$busybox" --list); do
    [ -e "$dir/bin/$applet" ] || ln "$dir/bin/busybox" "$dir/bin/$applet"
  done
  ln -s /bin/env "$dir/usr/bin/env"
  printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'www-data:x:33:33:www-data:/var/www:/bin/false' \
    'nobody:x:65534:65534:nobody:/home:/bin/false' >"$dir/etc/passwd"
  printf '%s\n' 'root:x:0:' 'www-data:x:33:' 'nobody:x:65534:' >"$dir/etc/group"
}

# As in the public image, bash is in /usr/local/bin only.
bash_rootfs() {
  busybox_rootfs "$1"
  cp "$(command -v bash-static)" "$1/usr/local/bin/bash"
}

# -------------------------------------------------------------------- clients

clients() {
  need_node
  npm_there "$CLIENTS" || clients_install
  set_env TEST_CLIENTS "$CLIENTS"
  say "clients: phala CLI $(node -p "require('$CLIENTS/node_modules/phala/package.json').version"), @phala/cloud $(node -p "require('$CLIENTS/node_modules/@phala/cloud/package.json').version")"
}

need_node() {
  if ! { have node && have npm; }; then
    missing "Node.js 20 or newer, with npm" "https://nodejs.org/en/download"
  fi
  [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] ||
    missing "Node.js 20 or newer (found $(node --version))" "https://nodejs.org/en/download"
}

# node_modules belongs to the lock file it was made from.
npm_stamp() { cat "$1/package.json" "$1/package-lock.json" | cksum | cut -d ' ' -f 1,2; }

npm_there() { [ "$(cat "$1/node_modules/.stamp" 2>/dev/null)" = "$(npm_stamp "$1")" ]; }

# Install scripts only build optional native add-ons, or fetch what npm has anyway: not run.
npm_ci() {
  local dir=$1 what=$2 log=$OUT/npm.log
  say "installing $what"
  (cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund </dev/null) >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    missing "$what" "cd $dir && npm ci --ignore-scripts" "see $log"
  }
}

clients_install() {
  npm_ci "$CLIENTS" "the npm clients"
  node "$CLIENTS/node_modules/phala/dist/index.js" --version >>"$OUT/npm.log" 2>&1 ||
    missing "the phala CLI does not run" "see $OUT/npm.log"
  npm_stamp "$CLIENTS" >"$CLIENTS/node_modules/.stamp"
}

# ---------------------------------------------------------------------- chain

chain() {
  need_node
  npm_there "$CONTRACTS" || chain_install
  set_env TEST_ANVIL "$(anvil_path)"
  say "chain: anvil $("$(anvil_path)" --version | sed -n '1s/.*: *//p'), solc $(node -p "require('$CONTRACTS/node_modules/solc/package.json').version")"
}

# npm has one package per platform; the lock file names that of CI, others are
# fetched beside it.
anvil_package() {
  node -p '`@foundry-rs/anvil-${process.platform}-${process.arch === "x64" ? "amd64" : process.arch}`'
}

anvil_path() { printf '%s' "$CONTRACTS/node_modules/$(anvil_package)/bin/anvil"; }

chain_install() {
  local log=$OUT/npm.log
  npm_ci "$CONTRACTS" "anvil and solc"
  [ -x "$(anvil_path)" ] ||
    (cd "$CONTRACTS" && npm install --no-save --ignore-scripts --no-audit --no-fund "$(anvil_package)@$ANVIL" </dev/null) >>"$log" 2>&1 ||
    missing "anvil $ANVIL for this platform" "npm has no package $(anvil_package), see $log"
  "$(anvil_path)" --version >>"$log" 2>&1 ||
    missing "anvil does not run" "it needs glibc 2.35 or newer; see $log"
  npm_stamp "$CONTRACTS" >"$CONTRACTS/node_modules/.stamp"
}

# ----------------------------------------------------------------------- main

# Every step in a process of its own: one that is missing does not hide the
# next one's answer (and `set -e` would not hold inside `step || ...`).
all() {
  local step rc worst=0
  for step in names docker compose postgres images clients chain; do
    rc=0
    "$BASH" "$0" "$step" || rc=$?
    [ "$rc" -le "$worst" ] || worst=$rc
  done
  [ "$worst" = 0 ] || exit "$worst"
  say "all there: . $ENV_FILE"
}

# Two runs at once would both install, or both start a daemon.
lock() {
  have flock || return 0
  exec 9>"$OUT/lock"
  flock -w 600 9 || missing "another test-env.sh has been at work for ten minutes" "$OUT/lock"
}

usage() {
  sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "$0"
  exit "$1"
}

main() {
  case ${1:-} in
    names | docker | compose | postgres | images | clients | chain | all) ;;
    -h | --help) usage 0 ;;
    *) usage 2 >&2 ;;
  esac
  mkdir -p "$OUT"
  chmod 0755 "$OUT"
  case $1 in
    all) all ;;
    docker) lock && docker_cmd ;;
    postgres) lock && postgres_cmd ;;
    *) lock && "$1" ;;
  esac
}

main "$@"

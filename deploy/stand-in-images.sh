#!/usr/bin/env bash
# Builds stand-ins for the official base images that the Dockerfile and docker-compose.yml name, from Debian packages and
# this machine's Rust toolchain. For machines that have a Docker Engine but cannot reach an image registry, and for
# nothing else: where the official images can be pulled, pull them.
#
#   deploy/stand-in-images.sh [--rebuild] [IMAGE...]
#
# It needs root (debootstrap creates root file systems), a Debian machine with working apt sources, and about four
# minutes. The mirror is the one in the machine's apt sources. The machine's certificate authorities go into the images, so
# never push them anywhere. Every image built here carries a label; an image of the same name without that label is not
# touched.
set -euo pipefail

readonly label=tandem.stand-in
readonly all=(debian:bookworm-slim rust:1-slim-bookworm rabbitmq:4 postgres:17)

say() { printf 'stand-in-images: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
# 69: this machine cannot build them at all (EX_UNAVAILABLE of sysexits.h).
unable() { say "$*"; exit 69; }

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }

exists() { docker image inspect "$1" >/dev/null 2>&1; }
# The label holds the name of the image, because images built from a stand-in inherit it.
ours() { [ "$(docker image inspect --format "{{ index .Config.Labels \"$label\" }}" "$1" 2>/dev/null)" = "$1" ]; }

# Prints the address of the Debian mirror in this machine's apt sources.
mirror() {
  local found
  # shellcheck disable=SC2016 # these are apt's own placeholders
  found=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }')
  [ -n "$found" ] || unable "this machine's apt sources name no Debian mirror (apt-get update may help)"
  printf '%s\n' "$found"
}

# Runs debootstrap: the installed one, otherwise from its package, unpacked next to the root file systems.
run_debootstrap() {
  if ! command -v debootstrap >/dev/null && [ ! -d "$work/debootstrap" ]; then
    (cd "$work" && apt-get download -q debootstrap >/dev/null && dpkg-deb -x debootstrap_*.deb debootstrap) ||
      unable 'debootstrap is not installed and its package cannot be downloaded (apt-get install debootstrap)'
  fi
  if [ -d "$work/debootstrap" ]; then
    DEBOOTSTRAP_DIR=$work/debootstrap/usr/share/debootstrap "$work/debootstrap/usr/sbin/debootstrap" "$@"
  else
    debootstrap "$@"
  fi
}

# make_debian IMAGE SUITE: a minimal Debian that trusts the same certificate authorities as this machine.
make_debian() {
  local image=$1 suite=$2 root=$work/$2 from
  from=$(mirror)
  run_debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$from" >"$work/$suite.log" 2>&1 ||
    { tail -n 20 "$work/$suite.log" >&2; die "debootstrap $suite failed"; }
  if [ -d /usr/local/share/ca-certificates ]; then
    cp -R /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
  fi
  chroot "$root" update-ca-certificates >/dev/null 2>&1
  if [ -s /etc/ssl/certs/ca-certificates.crt ]; then
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  fi
  # The official slim images leave these out as well.
  rm -rf "$root"/usr/share/{doc,info,locale,man}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*
  : >"$root/etc/resolv.conf"
  tar -C "$root" -c . | docker import --change "LABEL $label=$image" --change 'CMD ["bash"]' - "$image" >/dev/null
  rm -rf "$root"
}

# make_rust: this machine's toolchain and a linker, at the paths of the official image.
make_rust() {
  local context=$work/rust sysroot
  sysroot=$(rustc --print sysroot 2>/dev/null) || unable 'there is no rustc on this machine'
  if [ ! -x "$sysroot/bin/cargo" ] || [ "$sysroot" = /usr ]; then
    unable "the toolchain in $sysroot cannot be copied: one installed by rustup is needed"
  fi
  mkdir -p "$context/toolchain/bin"
  cp -L "$sysroot/bin/cargo" "$sysroot/bin/rustc" "$context/toolchain/bin/"
  cp -R "$sysroot/lib" "$context/toolchain/lib"
  cat >"$context/Dockerfile" <<DOCKERFILE
FROM debian:bookworm-slim
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$official_path
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY toolchain /usr/local/rustup/toolchains/stand-in
RUN mkdir -p /usr/local/cargo/bin && ln -s /usr/local/rustup/toolchains/stand-in/bin/* /usr/local/cargo/bin/ && cargo --version
LABEL $label=rust:1-slim-bookworm
DOCKERFILE
  build rust:1-slim-bookworm "$context"
}

# make_rabbitmq: Debian's RabbitMQ 4 with the user, paths, defaults and entrypoint of the official image that Tandem uses.
make_rabbitmq() {
  local context=$work/rabbitmq
  mkdir -p "$context"
  cat >"$context/docker-entrypoint.sh" <<'ENTRYPOINT'
#!/bin/bash
set -euo pipefail
if [ "$(id -u)" = 0 ]; then
  find /var/lib/rabbitmq ! -user rabbitmq -exec chown rabbitmq {} +
  exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups "$0" "$@"
fi
exec "$@"
ENTRYPOINT
  chmod 755 "$context/docker-entrypoint.sh"
  printf 'loopback_users.guest = false\nlog.console = true\n' >"$context/10-defaults.conf"
  cat >"$context/Dockerfile" <<DOCKERFILE
FROM debian:trixie-slim
RUN groupadd --system --gid 999 rabbitmq && useradd --system --uid 999 --gid 999 --home-dir /var/lib/rabbitmq rabbitmq
RUN apt-get update && apt-get install -y --no-install-recommends rabbitmq-server \
  && rm -rf /var/lib/apt/lists/* /var/lib/rabbitmq/* /var/lib/rabbitmq/.erlang.cookie /var/log/rabbitmq/* \
  && mkdir -p /etc/rabbitmq/conf.d && echo '[rabbitmq_prometheus].' >/etc/rabbitmq/enabled_plugins \
  && chown -R rabbitmq:rabbitmq /etc/rabbitmq /var/lib/rabbitmq /var/log/rabbitmq \
  && chmod 1777 /etc/rabbitmq /etc/rabbitmq/conf.d /var/lib/rabbitmq /var/log/rabbitmq
COPY --chown=rabbitmq:rabbitmq 10-defaults.conf /etc/rabbitmq/conf.d/
COPY docker-entrypoint.sh /usr/local/bin/
ENV PATH=/usr/lib/rabbitmq/bin:$official_path HOME=/var/lib/rabbitmq LANG=C.UTF-8 LC_ALL=C.UTF-8 RUNNING_UNDER_SYSTEMD=true
VOLUME /var/lib/rabbitmq
EXPOSE 5672 15692
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["rabbitmq-server"]
LABEL $label=rabbitmq:4
DOCKERFILE
  build rabbitmq:4 "$context"
}

# make_postgres: Debian's Postgres 17 with the user, paths, defaults and entrypoint of the official image that Tandem uses.
make_postgres() {
  local context=$work/postgres
  mkdir -p "$context"
  cat >"$context/docker-entrypoint.sh" <<'ENTRYPOINT'
#!/bin/bash
set -Eeuo pipefail
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"
  find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres {} +
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
# file_env NAME: the value of NAME, or the content of the file that NAME_FILE names.
file_env() {
  local file=${1}_FILE
  if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!1:-}"; fi
}
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres} database=${POSTGRES_DB:-${POSTGRES_USER:-postgres}} password=$(file_env POSTGRES_PASSWORD)
  [ -n "$password" ] || { echo 'POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE must be set' >&2; exit 1; }
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA" || true
  # shellcheck disable=SC2086 # arguments
  initdb --username="$user" --pwfile=<(printf '%s\n' "$password") ${POSTGRES_INITDB_ARGS:-} "$PGDATA"
  printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
  ask() { psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user" "$@"; }
  [ "$database" = postgres ] || ask --dbname postgres -c "CREATE DATABASE \"$database\""
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sql) ask --dbname "$database" -f "$file" ;;
      *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@"
ENTRYPOINT
  chmod 755 "$context/docker-entrypoint.sh"
  cat >"$context/Dockerfile" <<DOCKERFILE
FROM debian:trixie-slim
RUN groupadd --system --gid 999 postgres \
  && useradd --system --uid 999 --gid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-common \
  && echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf \
  && apt-get install -y --no-install-recommends postgresql-17 && rm -rf /var/lib/apt/lists/* \
  && sed -i "s/^#\?listen_addresses = .*/listen_addresses = '*'/" /usr/share/postgresql/17/postgresql.conf.sample \
  && mkdir -p /docker-entrypoint-initdb.d /var/lib/postgresql/data /var/run/postgresql \
  && chown postgres:postgres /var/lib/postgresql /var/lib/postgresql/data /var/run/postgresql \
  && chmod 1777 /var/lib/postgresql/data && chmod 3777 /var/run/postgresql
COPY docker-entrypoint.sh /usr/local/bin/
ENV PATH=$official_path:/usr/lib/postgresql/17/bin PGDATA=/var/lib/postgresql/data LANG=C.UTF-8 PG_MAJOR=17
VOLUME /var/lib/postgresql/data
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
LABEL $label=postgres:17
DOCKERFILE
  build postgres:17 "$context"
}

readonly official_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

build() {
  docker build --tag "$1" "$2" >"$2.log" 2>&1 || { tail -n 40 "$2.log" >&2; die "building $1 failed"; }
  rm -rf "$2"
}

# provide IMAGE: builds it, after the image it is based on, unless it exists.
provide() {
  case $1 in
    rust:1-slim-bookworm) provide debian:bookworm-slim ;;
    rabbitmq:4 | postgres:17) provide debian:trixie-slim ;;
  esac
  if exists "$1" && ! ours "$1"; then
    say "$1 exists and was not built by this script: left as it is"
    return
  fi
  if [[ " $done " == *" $1 "* ]] || { exists "$1" && [ $rebuild = no ]; }; then
    return
  fi
  say "building $1"
  case $1 in
    debian:bookworm-slim) make_debian "$1" bookworm ;;
    debian:trixie-slim) make_debian "$1" trixie ;;
    rust:1-slim-bookworm) make_rust ;;
    rabbitmq:4) make_rabbitmq ;;
    postgres:17) make_postgres ;;
    *) die "no stand-in is known for $1; known are: ${all[*]}" ;;
  esac
  done="$done $1"
}

rebuild=no
done=
wanted=()
for argument; do
  case $argument in
    --rebuild) rebuild=yes ;;
    -h | --help) usage; exit 0 ;;
    -*) die "unknown option $argument (see --help)" ;;
    *) wanted+=("$argument") ;;
  esac
done
[ ${#wanted[@]} -gt 0 ] || wanted=("${all[@]}")

[ "$(id -u)" = 0 ] || unable 'must run as root: debootstrap creates root file systems'
docker version >/dev/null 2>&1 || unable 'no Docker Engine answers'
work=$(mktemp -d "${TMPDIR:-/var/tmp}/tandem-stand-in.XXXXXX")
readonly work
trap 'rm -rf "$work"' EXIT

for image in "${wanted[@]}"; do
  provide "$image"
done

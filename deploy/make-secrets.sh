#!/bin/sh
# Creates the secrets that docker-compose.yml reads, with random passwords. Existing files are kept.
#
#   deploy/make-secrets.sh deploy/secrets        then set TANDEM_SECRETS=./deploy/secrets in .env
#
# The directory is closed to other users of this machine. The files in it are readable by everyone, because the
# containers that mount them run as different users.
set -eu

[ $# = 1 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 64; }
directory=$1
umask 077
mkdir -p "$directory"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

write() {
  if [ -e "$directory/$1" ]; then
    echo "$directory/$1 exists, kept" >&2
  else
    printf '%s\n' "$2" >"$directory/$1"
    chmod 644 "$directory/$1"
  fi
}

for user in producer worker-inventory worker-fulfillment; do
  write "$user-amqp-url" "amqp://$user:$(random)@rabbitmq:5672/%2f"
done
write producer-database-url "postgres://producer:$(random)@postgres:5432/tandem"
write postgres-password "$(random)"
write fulfillment-api-token "$(random)"

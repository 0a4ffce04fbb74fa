#!/bin/sh
# Starts Postgres with one user for the producer, who may use and change the tables of its own database and no more, and
# the password of the producer's own secret.
#
# The producer reads its DATABASE_URL from a secret; the same secret is read here, so a password is written in one
# place. It is set at each start, before Postgres listens: a changed one takes effect with
# `docker compose up --force-recreate`.
set -eu
umask 077

fail() { echo "start.sh: $*" >&2; exit 78; }

secret=/run/secrets/producer-database-url
[ -r "$secret" ] || fail "cannot read $secret as $(id -un): the file must be readable for all"
url=$(cat "$secret")
password=${url#postgres://producer:}
password=${password%%@*}
# Characters that mean nothing in a URL and in SQL.
case $url in
  "postgres://producer:$password@"*"/$POSTGRES_DB") case $password in '' | *[!A-Za-z0-9._~-]*) url= ;; esac ;;
  *) url= ;;
esac
[ -n "$url" ] || fail "$secret must be postgres://producer:PASSWORD@postgres:5432/$POSTGRES_DB, PASSWORD of letters, digits and . _ ~ -"

# Run by first-start.sql once the image has made the database, and here at every later start; each line is a statement.
statements=/tmp/producer.sql
cat >"$statements" <<SQL
DO 'BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ''producer'') THEN CREATE ROLE producer LOGIN; END IF; END';
ALTER ROLE producer PASSWORD '$password';
REVOKE ALL ON DATABASE "$POSTGRES_DB", postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE "$POSTGRES_DB" TO producer;
GRANT USAGE, CREATE ON SCHEMA public TO producer;
SQL
if [ -s "$PGDATA/PG_VERSION" ]; then
  postgres --single -D "$PGDATA" -c exit_on_error=on "$POSTGRES_DB" <"$statements" >/dev/null
fi

exec docker-entrypoint.sh postgres

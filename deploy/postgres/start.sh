#!/bin/sh
# Starts Postgres with a user for the producer, which may create and use tables in its own database and nothing more. Its
# password is the one in the producer's secret.
#
# The producer reads its DATABASE_URL from a secret, and this script reads the same secret, so that the password is
# written in one place. It is set at every start, before Postgres listens: a changed password takes effect with
# `docker compose up --force-recreate`.
set -eu
umask 077

fail() { echo "start.sh: $*" >&2; exit 78; }

secret=/run/secrets/producer-database-url
[ -r "$secret" ] || fail "cannot read $secret as $(id -un): the file must be readable by everyone"
url=$(cat "$secret")
password=${url#postgres://producer:}
password=${password%%@*}
# Only characters without a special meaning in a URL or in SQL.
case $url in
  "postgres://producer:$password@"*"/$POSTGRES_DB") case $password in '' | *[!A-Za-z0-9._~-]*) url= ;; esac ;;
  *) url= ;;
esac
[ -n "$url" ] || fail "$secret must be postgres://producer:PASSWORD@postgres:5432/$POSTGRES_DB, with a PASSWORD of letters, digits and . _ ~ -"

# first-start.sql runs these once the image has created the database; at every later start they run below. Each line is
# one statement.
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

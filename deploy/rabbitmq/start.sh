#!/bin/sh
# Starts RabbitMQ with the users of definitions.json and the passwords of the services' own secrets.
#
# Each service reads its AMQP_URL from a secret, and this script reads the same secrets, so that each password is written
# in one place. Definitions are imported at every start, before the broker listens: a changed password takes effect with
# `docker compose up --force-recreate`. A user that is removed from the definitions stays until `rabbitmqctl delete_user`.
set -eu
umask 077

definitions=/tmp/definitions.json
cp /etc/tandem/definitions.json "$definitions"
for user in $(sed -n 's/.*"password": "@\(.*\)@".*/\1/p' /etc/tandem/definitions.json); do
  secret=/run/secrets/$user-amqp-url
  [ -r "$secret" ] || { echo "start.sh: cannot read $secret as $(id -un): the file must be readable by everyone" >&2; exit 78; }
  url=$(cat "$secret")
  password=${url#"amqp://$user:"}
  password=${password%%@*}
  # Only characters without a special meaning in a URL, in JSON or in sed.
  case $url in
    "amqp://$user:$password@"*) case $password in '' | *[!A-Za-z0-9._~-]*) url= ;; esac ;;
    *) url= ;;
  esac
  if [ -z "$url" ]; then
    echo "start.sh: $secret must be amqp://$user:PASSWORD@rabbitmq:5672/%2f, with a PASSWORD of letters, digits and . _ ~ -" >&2
    exit 78
  fi
  sed -i "s/\"@$user@\"/\"$password\"/" "$definitions"
done

exec docker-entrypoint.sh rabbitmq-server

-- What start.sh has written.
\i /tmp/producer.sql

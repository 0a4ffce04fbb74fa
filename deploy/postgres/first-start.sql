-- The statements that start.sh has written.
\i /tmp/producer.sql

data=/var/lib/postgresql/data
as_postgres() { setpriv --reuid postgres --regid postgres --init-groups -- "$@"; }

if [ ! -s "$data/PG_VERSION" ]; then
  chown postgres "$data"
  umask 077
  printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
  chown postgres /tmp/password
  as_postgres /postgresql/initdb -D "$data" -U "$POSTGRES_USER" -A scram-sha-256 --pwfile /tmp/password
  echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
  as_postgres /postgresql/pg_ctl -D "$data" -w -o "-c listen_addresses=" start
  PGPASSWORD=$POSTGRES_PASSWORD psql -h /var/run/postgresql -U "$POSTGRES_USER" -d postgres -c "create database $POSTGRES_USER"
  as_postgres /postgresql/pg_ctl -D "$data" -w stop
  rm /tmp/password
fi
exec setpriv --reuid postgres --regid postgres --init-groups -- /postgresql/postgres -D "$data" -c 'listen_addresses=*'

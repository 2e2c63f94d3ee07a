# In the place of the postgres image: Debian's, with an entry point that knows the same two variables.
FROM debian:12.12-slim
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql \
  && ln -s /usr/lib/postgresql/*/bin /postgresql
COPY postgres.sh /postgres.sh
ENTRYPOINT ["/bin/sh", "-eu", "/postgres.sh"]

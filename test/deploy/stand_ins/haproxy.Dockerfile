# In the place of the haproxy image: Debian's.
FROM debian:12.12-slim
RUN apt-get update && apt-get install --yes --no-install-recommends haproxy

# A lab box: Debian with systemd, and what docs/deploy.md asks for.
FROM debian:12.12-slim
RUN apt-get update && apt-get install --yes --no-install-recommends systemd socat iproute2 curl
CMD ["/lib/systemd/systemd"]

# A container of Zonebench. docs/deploy.md says how to run it, with serial adapters and on the host's network too.
#
#   docker build --tag zonebench .
#   docker run --rm --read-only --tmpfs /tmp --volume zonebench:/data --publish 8443:8443 --publish 8883:8883 zonebench

FROM node:24.11.0-bookworm-slim AS build
WORKDIR /source
COPY . .
RUN npx -y deno@2.9.6 task compile

FROM debian:12.12-slim
# socat and stty open serial adapters, ip tells the route's source address. Without versions: Debian's archive keeps the newest of
# a release alone, and security updates are wanted.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends iproute2 socat \
  && rm -rf /var/lib/apt/lists/* \
  && groupadd --gid 10001 zonebench \
  && useradd --uid 10001 --gid zonebench --create-home --shell /usr/sbin/nologin zonebench \
  && install --directory --owner zonebench --group zonebench --mode 0700 /data /broker /vehicle
COPY --from=build /source/dist/zonebench /usr/local/bin/zonebench
USER 10001:10001
# Unpacks the program once, here: the root file system is read-only when it runs.
RUN ["/usr/local/bin/zonebench", "--version"]
VOLUME /data
EXPOSE 8443 8883
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/bin/bash", "-c", \
  "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\nHost: 127.0.0.1:8080\\r\\n\\r\\n' >&3 && grep -q ' 200 ' <&3"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/zonebench"]
CMD ["serve", "--data", "/data"]

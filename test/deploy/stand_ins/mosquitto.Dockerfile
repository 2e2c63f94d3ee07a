# In the place of the eclipse-mosquitto image: Debian's.
FROM debian:12.12-slim
RUN apt-get update && apt-get install --yes --no-install-recommends mosquitto

# In the place of the node image: its npx gives what this very command has made of this source before.
FROM debian:12.12-slim
COPY zonebench /zonebench
COPY npx /usr/local/bin/npx

# Run once before the servers: makes what is not there yet, and leaves what is.
umask 077
zonebench=/usr/local/bin/zonebench

"$zonebench" pki init --data /data
"$zonebench" pki issue operator bench --data /data
"$zonebench" pki issue server-client --data /data
# Servers reach the broker by its own name, vehicles through the balancer. Its OpenSSL decides the profile; 0 suits all.
"$zonebench" pki issue broker mosquitto --also balancer --also "$PUBLIC_NAME" --profile 0 --data /data

# The broker and the vehicle see their own keys and no others.
mkdir -p /broker/conf.d /broker/state /vehicle/pki
cp /data/pki/ca.crt /broker/ca.crt
cp /data/pki/broker-mosquitto.crt /broker/broker.crt
cp /data/pki/broker-mosquitto.key /broker/broker.key
"$zonebench" mqtt acl --out /broker/conf.d --data /data \
  --cafile /broker/ca.crt --certfile /broker/broker.crt --keyfile /broker/broker.key \
  --set vmg.mqtt_url=mqtts://mosquitto:8883

# A vehicle is given its certificate, the key of packages, and the first roots of signed metadata.
"$zonebench" pki issue vehicle KMHZB00BENCH00001 --data /data
for file in ca.crt signing.pub vehicle-KMHZB00BENCH00001.crt vehicle-KMHZB00BENCH00001.key; do
  cp "/data/pki/$file" /vehicle/pki/
done
"$zonebench" repo init --data /data
for repository in director image; do
  mkdir -p "/vehicle/repo/$repository"
  cp "/data/repo/$repository/1.root.json" "/vehicle/repo/$repository/"
done

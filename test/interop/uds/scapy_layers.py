"""Builds and dissects UDS messages with scapy's layers: JSON lines in, JSON lines out.

{"build": [["UDS", {...}], ["UDS_RDBI", {...}]]} -> {"hex": "..."}
{"dissect": "22f190"} -> {"layers": [["UDS", {...}], ...]}
"""
import json
import sys

from scapy.contrib.automotive import uds
from scapy.packet import NoPayload, Raw


def plain(value):
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def given(value):
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value


def build(layers):
    packet = None
    for name, fields in layers:
        if name == "Raw":
            layer = Raw(given(fields["load"]))
        else:
            layer = getattr(uds, name)(**{key: given(value) for key, value in fields.items()})
        packet = layer if packet is None else packet / layer
    return {"hex": bytes(packet).hex()}


def dissect(text):
    packet = uds.UDS(bytes.fromhex(text))
    layers = []
    while packet is not None and not isinstance(packet, NoPayload):
        fields = {}
        for field in packet.fields_desc:
            value = packet.getfieldval(field.name)
            # An empty block at the end is not among the packet's own fields; its default says the same.
            if value is not None:
                fields[field.name] = plain(value)
        layers.append([type(packet).__name__, fields])
        packet = packet.payload
    return {"layers": layers}


for line in sys.stdin:
    request = json.loads(line)
    answer = build(request["build"]) if "build" in request else dissect(request["dissect"])
    print(json.dumps(answer), flush=True)

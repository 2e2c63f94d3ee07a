"""scapy's ISO-TP on request: one JSON object a line on standard input, one on standard output for each.

{"op": "fragment", "payload", "id", "address"?}  -> {"frames": [...]}      frames as candump writes them
{"op": "defragment", "frames", "extended"}       -> {"payload"}
{"op": "open", "port", "request", "response", "request_address"?, "response_address"?, "bs", "stmin", "padding"}
                                                 -> {"port"}               a tester: one frame a datagram
{"op": "send", "payload"} · {"op": "receive"}    -> {} · {"payload"}       on what was opened last
"""
import json
import socket
import sys

from scapy.config import conf
from scapy.contrib.isotp import ISOTP, ISOTPSoftSocket
from scapy.layers.can import CAN
from scapy.supersocket import SuperSocket

conf.verb = 0


def can(text):
    identifier, data = text.split("#")
    flags = "extended" if len(identifier) == 8 else 0
    return CAN(identifier=int(identifier, 16), flags=flags, data=bytes.fromhex(data))


def text(frame):
    width = 8 if frame.flags == "extended" else 3
    return "%0*X#%s" % (width, frame.identifier, bytes(frame.data).hex().upper())


class DatagramBus(SuperSocket):
    """A CAN bus of two nodes: each datagram is a frame."""

    def __init__(self, port):
        self.ins = self.outs = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ins.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.ins.bind(("127.0.0.1", 0))
        self.ins.connect(("127.0.0.1", port))

    def recv(self, size=2048):
        return can(self.ins.recv(size).decode())

    def send(self, frame):
        return self.outs.send(text(CAN(bytes(frame))).encode())


opened = None
for line in sys.stdin:
    ask = json.loads(line)
    answer = {}
    if ask["op"] == "fragment":
        message = ISOTP(bytes.fromhex(ask["payload"]), rx_id=ask["id"], rx_ext_address=ask.get("address"))
        answer["frames"] = [text(frame) for frame in message.fragment()]
    elif ask["op"] == "defragment":
        message = ISOTP.defragment([can(frame) for frame in ask["frames"]], ask["extended"])
        answer["payload"] = None if message is None else bytes(message.data).hex()
    elif ask["op"] == "open":
        if opened is not None:
            opened.close()
        bus = DatagramBus(ask["port"])
        opened = ISOTPSoftSocket(bus, tx_id=ask["request"], rx_id=ask["response"],
                                 ext_address=ask.get("request_address"), rx_ext_address=ask.get("response_address"),
                                 bs=ask["bs"], stmin=ask["stmin"], padding=ask["padding"], basecls=ISOTP)
        answer["port"] = bus.ins.getsockname()[1]
    elif ask["op"] == "send":
        opened.send(ISOTP(bytes.fromhex(ask["payload"])))
    elif ask["op"] == "receive":
        opened.ins.rx_timer = None
        message = opened.sniff(count=1, timeout=20)
        answer["payload"] = bytes(message[0].data).hex() if message else None
    print(json.dumps(answer), flush=True)
if opened is not None:
    opened.close()

# python-can on a serial line: says what it hears and sends what it is told, one JSON object a line each way.
import json
import sys
import threading

import can

channel, bitrate = sys.argv[1], int(sys.argv[2])
bus = can.interface.Bus(interface="slcan", channel=channel, bitrate=bitrate, sleep_after_open=0)
print(json.dumps({"open": True}), flush=True)


def listen():
    while True:
        message = bus.recv(0.1)
        if message is None:
            continue
        print(
            json.dumps(
                {
                    "id": message.arbitration_id,
                    "extended": message.is_extended_id,
                    "remote": message.is_remote_frame,
                    "dlc": message.dlc,
                    "data": bytes(message.data).hex(),
                }
            ),
            flush=True,
        )


threading.Thread(target=listen, daemon=True).start()
for line in sys.stdin:
    frame = json.loads(line)
    bus.send(
        can.Message(
            arbitration_id=frame["id"],
            is_extended_id=frame["extended"],
            is_remote_frame=frame["remote"],
            dlc=frame["dlc"],
            data=bytes.fromhex(frame["data"]),
        )
    )

# Reads an ECU's VIN through an SLCAN adapter with python-can, ISO-TP written out frame by frame: a single frame to ask, a first
# frame and consecutive frames back, a flow control between them.
import sys

import can

device, request_id, response_id = sys.argv[1], int(sys.argv[2], 16), int(sys.argv[3], 16)
bus = can.Bus(interface="slcan", channel=device, bitrate=500000, ttyBaudrate=115200, sleep_after_open=0.2)


def send(data):
    frame = can.Message(arbitration_id=request_id, data=data, is_extended_id=request_id > 0x7FF)
    bus.send(frame, timeout=30)


def receive():
    while True:
        frame = bus.recv(timeout=30)
        if frame is None:
            sys.exit("no frame within 30 s")
        if frame.arbitration_id == response_id:
            return bytes(frame.data)


# TesterPresent: a single frame each way.
send([0x02, 0x3E, 0x00, 0, 0, 0, 0, 0])
answer = receive()
print(answer[: 1 + answer[0]].hex())

# ReadDataByIdentifier F190: 20 bytes come back in three frames.
send([0x03, 0x22, 0xF1, 0x90, 0, 0, 0, 0])
first = receive()
print(first.hex())
length = (first[0] & 0x0F) << 8 | first[1]
message = first[2:]
send([0x30, 0x00, 0x00, 0, 0, 0, 0, 0])
number = 1
while len(message) < length:
    frame = receive()
    assert frame[0] == 0x20 | number & 0x0F, frame.hex()
    message += frame[1:]
    number += 1
print(message[:length].hex())

# WriteDataByIdentifier F190 in two frames: the ECU's flow control comes between them, and it refuses.
send([0x10, 0x08, 0x2E, 0xF1, 0x90, 0x41, 0x42, 0x43])
print(receive()[:3].hex())
send([0x21, 0x44, 0x45, 0, 0, 0, 0, 0])
answer = receive()
print(answer[: 1 + answer[0]].hex())
bus.shutdown()

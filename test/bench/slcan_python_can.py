# The same measurements with python-can's slcan: receives so many frames from a line, then sends as many.
import sys
import time

import can

channel, count = sys.argv[1], int(sys.argv[2])
bus = can.interface.Bus(interface="slcan", channel=channel, bitrate=500000, sleep_after_open=0)
print("open", flush=True)
bus.recv(30)
start = time.perf_counter()
for _ in range(count - 1):
    bus.recv(30)
print(time.perf_counter() - start, flush=True)
message = can.Message(arbitration_id=0x7E0, is_extended_id=False, data=bytes(8))
start = time.perf_counter()
for _ in range(count):
    bus.send(message)
print(time.perf_counter() - start, flush=True)

"""A DoIP entity made of Python sockets and scapy's DoIP layer, for one tester at a time.

Prints its port, then serves connections until its standard input ends. The target address chooses how it behaves:
0x1001 acknowledges and answers in one segment, 0x1002 byte by byte, 0x1003 never acknowledges, 0x1004 is refused
with NACK 06, 0x1005 asks for a sign of life in between. Every request is answered with 62 F190 and a VIN.
"""
import socket
import sys
import threading

from scapy.contrib.automotive.doip import DoIP
from scapy.contrib.automotive.uds import UDS

VIN = b"WDB1234567F890123"


def read_exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def read_message(connection):
    header = read_exactly(connection, 8)
    return DoIP(header + read_exactly(connection, int.from_bytes(header[4:], "big")))


def answer(connection, request, version):
    tester, target = request.source_address, request.target_address
    assert bytes(request.payload) == bytes.fromhex("22f190"), bytes(request.payload).hex()
    ack = bytes(DoIP(payload_type=0x8002, source_address=target, target_address=tester, ack_code=0,
                     previous_msg=b"\x22\xf1\x90", **version))
    data = bytes(DoIP(payload_type=0x8001, source_address=target, target_address=tester, **version) /
                 UDS(bytes.fromhex("62f190") + VIN))
    if target == 0x1001:
        connection.sendall(ack + data)
    elif target == 0x1002:
        for byte in ack + data:
            connection.sendall(bytes([byte]))
    elif target == 0x1003:
        connection.sendall(data)
    elif target == 0x1004:
        connection.sendall(bytes(DoIP(payload_type=0x8003, source_address=target, target_address=tester,
                                      nack_code=6, **version)))
    else:
        connection.sendall(ack + bytes(DoIP(payload_type=0x0007, **version)))
        alive = read_message(connection)
        assert alive.payload_type == 0x0008 and alive.source_address == tester, alive.show(dump=True)
        connection.sendall(data)


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while True:
            request = read_message(connection)
            version = {"protocol_version": request.protocol_version, "inverse_version": request.inverse_version}
            if request.payload_type == 0x0005:
                code = 0x10 if request.source_address == 0x0E00 else 0x00
                connection.sendall(bytes(DoIP(
                    payload_type=0x0006, logical_address_tester=request.source_address,
                    logical_address_doip_entity=0x1000, routing_activation_response=code, **version)))
                if code != 0x10:
                    break
            elif request.payload_type == 0x8001:
                answer(connection, request, version)
    except EOFError:
        pass
    finally:
        connection.close()


listener = socket.create_server((sys.argv[1], 0))
# One write: whoever starts this closes the pipe once it has the number.
sys.stdout.write(f"{listener.getsockname()[1]}\n")
sys.stdout.flush()


def accept():
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
sys.stdin.read()

"""A tester made of scapy's DoIP layer: discovers an entity, activates routing, reads DID F190.

Usage: scapy_tester.py ADDRESS PORT VERSION; prints one line per result. Exits 1 when something is missing.
"""
import socket
import sys

from scapy.contrib.automotive.doip import DoIP, DoIPSocket, UDS_DoIPSocket
from scapy.contrib.automotive.uds import UDS, UDS_RDBI

address, port, version = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
header = {"protocol_version": version, "inverse_version": 0xFF ^ version}

# Seconds that an answer may take on a machine that is busy with other things.
patience = 30

udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.settimeout(patience)


def ask(packet):
    udp.sendto(bytes(packet), (address, port))
    return DoIP(udp.recvfrom(4096)[0])


for request in (
    DoIP(payload_type=0x0001, protocol_version=0xFF, inverse_version=0x00),
    DoIP(payload_type=0x0002, eid=bytes.fromhex("020000000001"), **header),
    DoIP(payload_type=0x0003, vin=b"WDB1234567F890123", **header),
):
    found = ask(request)
    print("identification", hex(found.payload_type), found.protocol_version, found.vin.decode(),
          hex(found.logical_address), found.eid.hex(), found.gid.hex(), found.further_action, found.vin_gid_status)
status = ask(DoIP(payload_type=0x4001, **header))
print("status", hex(status.payload_type), status.node_type, status.max_open_sockets, status.cur_open_sockets,
      status.max_data_size)
power = ask(DoIP(payload_type=0x4003, **header))
print("power", hex(power.payload_type), power.diagnostic_power_mode)
nack = ask(DoIP(payload_type=0x4002 + 0x100, **header))
print("nack", hex(nack.payload_type), nack.nack)

# scapy's own sockets speak version 0x02 when they activate routing.
uds = UDS_DoIPSocket(address, port, source_address=0x0E00, target_address=0x1001)
answer = uds.sr1(UDS() / UDS_RDBI(identifiers=[0xF190]), timeout=patience, verbose=False)
print("uds socket", bytes(answer).hex())
uds.close()

doip = DoIPSocket(address, port, source_address=0x0E01, target_address=0x1001)
request = DoIP(payload_type=0x8001, source_address=0x0E01, target_address=0x1001, **header) / UDS() / UDS_RDBI(
    identifiers=[0xF190])
answer = doip.sr1(request, timeout=patience, verbose=False)
print("doip socket", answer.protocol_version, hex(answer.source_address), hex(answer.target_address),
      bytes(answer.payload).hex())
refused = doip.sr1(
    DoIP(payload_type=0x8001, source_address=0x0E01, target_address=0x1777, **header) / UDS() / UDS_RDBI(
        identifiers=[0xF190]), timeout=patience, verbose=False)
print("refused", hex(refused.payload_type), hex(refused.nack_code))
doip.close()

# Denied: the entity knows no tester 0x1234.
plain = socket.create_connection((address, port), timeout=patience)
plain.sendall(bytes(DoIP(payload_type=0x0005, source_address=0x1234, **header)))
denial = DoIP(plain.recv(4096))
print("denied", hex(denial.payload_type), hex(denial.routing_activation_response), plain.recv(1) == b"")
plain.close()

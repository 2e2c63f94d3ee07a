"""scapy's own DoIP socket reads the VIN of an ECU: discovery, routing activation, DID F190.

Usage: scapy_reads_vin.py ADDRESS PORT ECU; prints the VIN as discovered and as read.
"""
import socket
import sys

from scapy.contrib.automotive.doip import DoIP, UDS_DoIPSocket
from scapy.contrib.automotive.uds import UDS, UDS_RDBI

address, port, ecu = sys.argv[1], int(sys.argv[2]), int(sys.argv[3], 0)

udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.settimeout(30)
udp.sendto(bytes(DoIP(payload_type=0x0001, protocol_version=0xFF, inverse_version=0x00)), (address, port))
print(DoIP(udp.recvfrom(4096)[0]).vin.decode())

# scapy 2.5.0 drops the second of two messages that share a TCP segment: an answer that comes with its acknowledgement
# is lost to it, so it may ask again.
uds = UDS_DoIPSocket(address, port, target_address=ecu)
answer = uds.sr1(UDS() / UDS_RDBI(identifiers=[0xF190]), timeout=10, retry=3, verbose=False)
print(bytes(answer)[3:].decode())

"""A tester made of scapy's UDS and DoIP layers: flashes 600 bytes to address 0 and reads version and memory back.

Usage: scapy_flash.py ADDRESS PORT TARGET; the key is the seed exclusive-or A5. Prints one line an answer.
The layers build and take apart every message; the stream is framed here, because scapy 2.5.0's own DoIP socket loses
messages that share a TCP segment.
"""
import hashlib
import socket
import sys

from scapy.contrib.automotive.doip import DoIP
from scapy.contrib.automotive.uds import (
    UDS, UDS_CC, UDS_CDTCS, UDS_DSC, UDS_ER, UDS_RC, UDS_RD, UDS_RDBI, UDS_RMBA, UDS_RTE, UDS_SA, UDS_TD, UDS_TP,
    UDS_WDBI)

address, port, target = sys.argv[1], int(sys.argv[2]), int(sys.argv[3], 0)
tester = 0x0E00
image = bytes((at * 3 + 1) & 0xFF for at in range(600))
stream = socket.create_connection((address, port))


def exactly(length):
    data = b""
    while len(data) < length:
        data += stream.recv(length - len(data)) or sys.exit("connection closed")
    return data


def receive(timeout):
    stream.settimeout(timeout)
    header = exactly(8)
    return DoIP(header + exactly(int.from_bytes(header[4:], "big")))


def ask(request, timeout=30):
    stream.sendall(bytes(DoIP(payload_type=0x8001, source_address=tester, target_address=target) / UDS() / request))
    try:
        while True:
            message = receive(timeout)
            if message.payload_type == 0x8001 and bytes(message[UDS])[:1] + bytes(message[UDS])[2:] != b"\x7f\x78":
                break
    except TimeoutError:
        return None
    answer = message[UDS]
    print(bytes(answer).hex()[:40])
    return answer


stream.sendall(bytes(DoIP(payload_type=0x0005, source_address=tester, activation_type=0)))
print("routing", hex(receive(5).routing_activation_response))
ask(UDS_DSC(diagnosticSessionType=3))
ask(UDS_CDTCS(DTCSettingType=2))
ask(UDS_CC(controlType=3, communicationType2=1))
ask(UDS_DSC(diagnosticSessionType=2))
seed = ask(UDS_SA(securityAccessType=1)).securitySeed
ask(UDS_SA(securityAccessType=2, securityKey=bytes(byte ^ 0xA5 for byte in seed)))
ask(UDS_WDBI(dataIdentifier=0xF15A) / bytes.fromhex("261121"))
ask(UDS_RC(routineControlType=1, routineIdentifier=0xFF00) / bytes.fromhex("440000000000000258"))
ask(UDS_RD(memoryAddressLen=4, memorySizeLen=4, memoryAddress4=0, memorySize4=len(image)))
for block, at in enumerate(range(0, len(image), 256), start=1):
    ask(UDS_TD(blockSequenceCounter=block, transferRequestParameterRecord=image[at:at + 256]))
ask(UDS_RTE())
ask(UDS_RC(routineControlType=1, routineIdentifier=0x0202) / hashlib.sha256(image).digest())
ask(UDS_RC(routineControlType=1, routineIdentifier=0xFF01) / b"2.0.0")
ask(UDS_ER(resetType=1))
for _ in range(20):
    if ask(UDS_TP(), timeout=1) is not None:
        break
print("version", bytes(ask(UDS_RDBI(identifiers=[0xF189])))[3:].decode())
memory = ask(UDS_RMBA(memoryAddressLen=4, memorySizeLen=4, memoryAddress4=0, memorySize4=len(image)))
print("memory", bytes(memory)[1:] == image)
stream.close()

"""An ECU behind a DoIP entity, made of scapy: EcuAnsweringMachine answers UDS, its DoIP layer makes every message.

Prints its port, then serves one tester after the other until its standard input ends. The machine's socket carries UDS over a
TCP connection: routing activation and acknowledgements are done below it, as a gateway does. At the end of each connection the
SHA-256 of what was transferred is printed.
"""
import hashlib
import socket
import sys
import threading

from scapy.contrib.automotive.doip import DoIP
from scapy.contrib.automotive.ecu import EcuAnsweringMachine, EcuResponse, EcuState
from scapy.contrib.automotive.uds import (
    UDS, UDS_CCPR, UDS_CDTCSPR, UDS_DSCPR, UDS_ERPR, UDS_NR, UDS_RCPR, UDS_RDBIPR, UDS_RDPR, UDS_RTEPR, UDS_SAPR,
    UDS_TDPR, UDS_TPPR, UDS_WDBIPR)
from scapy.supersocket import SuperSocket

ENTITY, ECU = 0x1000, 0x1001
SEED = bytes.fromhex("0102030405060708")
transferred = bytearray()


class UdsOverDoip(SuperSocket):
    """UDS messages of one tester's connection, for scapy's sniffer."""

    def __init__(self, connection):
        self.ins = self.outs = connection
        self.tester = None

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.ins.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _send(self, **fields):
        self.outs.sendall(bytes(DoIP(**fields)))

    def recv(self, x=65535):
        header = self._exactly(8)
        message = DoIP(header + self._exactly(int.from_bytes(header[4:], "big")))
        if message.payload_type == 0x0005:
            self.tester = message.source_address
            self._send(payload_type=0x0006, logical_address_tester=self.tester,
                       logical_address_doip_entity=ENTITY, routing_activation_response=0x10)
            return None
        if message.payload_type != 0x8001:
            return None
        if message.target_address != ECU:
            self._send(payload_type=0x8003, source_address=message.target_address, target_address=self.tester, nack_code=3)
            return None
        self._send(payload_type=0x8002, source_address=ECU, target_address=self.tester, ack_code=0)
        return UDS(bytes(message.payload))

    def send(self, x):
        self.outs.sendall(bytes(DoIP(payload_type=0x8001, source_address=ECU, target_address=self.tester) / x))


def plain(begin):
    """Answers a request by the bytes that it begins with."""
    return lambda response, request: bytes(request).startswith(bytes.fromhex(begin))


def echoing(begin, field, at):
    """The same, with one byte of the request sent back in a field of the answer."""
    def answers(response, request):
        if not bytes(request).startswith(bytes.fromhex(begin)):
            return False
        setattr(response.payload, field, bytes(request)[at])
        return True
    return answers


def transfer(response, request):
    data = bytes(request)
    if data[:1] != b"\x36":
        return False
    response.payload.blockSequenceCounter = data[1]
    transferred.extend(data[2:])
    return True


def right_key(response, request):
    return bytes(request) == b"\x27\x02" + bytes(byte ^ 0xA5 for byte in SEED)


def session(number, begin):
    answer = UDS() / UDS_DSCPR(diagnosticSessionType=number, sessionParameterRecord=bytes.fromhex("003201f4"))
    return EcuResponse(responses=[answer], answers=plain(begin))


def record(identifier, value):
    answer = UDS() / UDS_RDBIPR(dataIdentifier=identifier) / value
    return EcuResponse(responses=[answer], answers=plain("22%04x" % identifier))


responses = [
    session(1, "1001"), session(2, "1002"), session(3, "1003"),
    record(0xF190, b"KMHSCAPY000000001"), record(0xF189, b"2.0.0"), record(0xF195, b"2.0.0"),
    EcuResponse(responses=[UDS() / UDS_TPPR()], answers=plain("3e00")),
    EcuResponse(responses=[UDS() / UDS_CDTCSPR(DTCSettingType=2)], answers=echoing("85", "DTCSettingType", 1)),
    EcuResponse(responses=[UDS() / UDS_CCPR(controlType=3)], answers=echoing("28", "controlType", 1)),
    EcuResponse(responses=[UDS() / UDS_SAPR(securityAccessType=1, securitySeed=SEED)], answers=plain("2701")),
    EcuResponse(responses=[UDS() / UDS_SAPR(securityAccessType=2)], answers=right_key),
    EcuResponse(responses=[UDS() / UDS_NR(requestServiceId=0x27, negativeResponseCode=0x35)], answers=plain("2702")),
    EcuResponse(responses=[UDS() / UDS_WDBIPR(dataIdentifier=0xF15A)], answers=plain("2ef15a")),
    # Erasing takes its time: response pending first.
    EcuResponse(responses=[UDS() / UDS_NR(requestServiceId=0x31, negativeResponseCode=0x78),
                           UDS() / UDS_RCPR(routineControlType=1, routineIdentifier=0xFF00) / b"\x00"],
                answers=plain("3101ff00")),
    EcuResponse(responses=[UDS() / UDS_RCPR(routineControlType=1, routineIdentifier=0x0203) / b"\x00"],
                answers=plain("31010203")),
    EcuResponse(responses=[UDS() / UDS_RCPR(routineControlType=1, routineIdentifier=0x0202) / b"\x00"],
                answers=plain("31010202")),
    EcuResponse(responses=[UDS() / UDS_RCPR(routineControlType=1, routineIdentifier=0xFF01) / b"\x00"],
                answers=plain("3101ff01")),
    EcuResponse(responses=[UDS() / UDS_RDPR(memorySizeLen=2, maxNumberOfBlockLength=b"\x01\x02")], answers=plain("34")),
    EcuResponse(responses=[UDS() / UDS_TDPR(blockSequenceCounter=1)], answers=transfer),
    EcuResponse(responses=[UDS() / UDS_RTEPR()], answers=plain("37")),
    EcuResponse(responses=[UDS() / UDS_ERPR(resetType=1)], answers=plain("1101")),
]

listener = socket.create_server((sys.argv[1], 0))
print(listener.getsockname()[1], flush=True)


def serve():
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        machine = EcuAnsweringMachine(supported_responses=responses, main_socket=UdsOverDoip(connection), basecls=UDS,
                                      initial_ecu_state=EcuState(session=1), verbose=False)
        try:
            machine(timeout=60)
        except EOFError:
            pass
        finally:
            connection.close()
            print(len(transferred), hashlib.sha256(transferred).hexdigest(), flush=True)


threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()

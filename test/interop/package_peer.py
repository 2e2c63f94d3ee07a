"""The other end of package_test.ts: a reader of update packages that follows docs/package.md alone.

package_peer.py PACKAGE OUTPUT [BASE...]: checks the package, writes the payload of each ECU to OUTPUT/ECU_ID, and prints one
JSON text: the manifest, and base64 of what the signature is over and of the signature itself, which the caller has checked.
Exit code 1 with a line on standard error for what is wrong. Frames are left to the zstd command.
"""

import base64
import hashlib
import json
import os
import struct
import subprocess
import sys


def fail(what):
    sys.exit(what)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def unpack(blob, ecu, bases, output):
    command = ["zstd", "-d", "-q", "-f", "--memory=1024MB", "-o", output]
    if ecu["blob"]["encoding"] == "zstd-delta":
        base = bases.get(ecu["blob"]["base"]["sha256"])
        if base is None:
            fail(f"{ecu['ecu_id']}: no base")
        command.append(f"--patch-from={base}")
    frame = output + ".frame"
    with open(frame, "wb") as file:
        file.write(blob)
    subprocess.run([*command, frame], check=True)
    os.remove(frame)


def main(path, output, *base_files):
    with open(path, "rb") as file:
        data = file.read()
    magic, version, flags, m, s = struct.unpack(">4sHHII", data[:16])
    if (magic, version, flags, s) != (b"OTAP", 2, 0, 3309):
        fail("header")
    text, signature, parts = data[16 : 16 + m], data[16 + m : 16 + m + s], data[16 + m + s :]
    manifest = json.loads(text)
    if canonical(manifest) != text:
        fail("canonical form")
    if manifest["format"] != "zonebench-package" or manifest["version"] != 2:
        fail("document")
    bases = {}
    for base in base_files:
        with open(base, "rb") as file:
            bases[sha256(file.read())] = base
    block_size = manifest["block_size"]
    end = 0
    for zone in manifest["zonal_gateways"]:
        if zone["offset"] != end:
            fail("parts lie back to back")
        known = set()
        for ecu in zone["ecus"]:
            blob = ecu["blob"]
            blocks = -(-blob["length"] // block_size)
            if blob["offset"] not in known and blob["offset"] != end:
                fail("blobs lie back to back")
            table = parts[blob["offset"] : blob["offset"] + 32 * blocks]
            begin = blob["offset"] + 32 * blocks
            content = parts[begin : begin + blob["length"]]
            if blob["offset"] not in known:
                end = begin + blob["length"]
            known.add(blob["offset"])
            if sha256(table) != blob["table_sha256"] or sha256(content) != blob["sha256"]:
                fail(f"{ecu['ecu_id']}: table or blob")
            for block in range(blocks):
                part = content[block * block_size : (block + 1) * block_size]
                if hashlib.sha256(part).digest() != table[32 * block : 32 * block + 32]:
                    fail(f"{ecu['ecu_id']}: block {block}")
            target = os.path.join(output, ecu["ecu_id"])
            unpack(content, ecu, bases, target)
            with open(target, "rb") as file:
                payload = file.read()
            if len(payload) != ecu["image"]["size"] or sha256(payload) != ecu["image"]["sha256"]:
                fail(f"{ecu['ecu_id']}: image")
        if end != zone["offset"] + zone["length"]:
            fail("a part ends with its last blob")
    if end != len(parts):
        fail("the file ends with the last part")
    answer = {"manifest": manifest, "signed": text, "signature": signature}
    print(json.dumps({k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in answer.items()}))


main(*sys.argv[1:])

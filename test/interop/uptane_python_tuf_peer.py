"""The other end of uptane_python_tuf_test.ts: python-tuf, TUF's reference implementation, as a client and as a repository.

`client DIR`: trusts DIR/1.root.json, updates from DIR and prints what it finds of the images that are named on standard input.
`served URL`: the same from a server; standard input names its authority (`ca`), the client's certificate and key (`cert`, `key`),
the file of the first root (`root`) and the images (`names`).
`author DIR`: makes a repository in DIR, its keys ECDSA P-256 and ML-DSA-65 in turn.
"""

import json
import os
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from datetime import datetime, timezone

from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient import FetcherInterface, Updater


class Folder(FetcherInterface):
    def _fetch(self, url):
        path = url.removeprefix("file://")
        if not os.path.exists(path):
            raise DownloadHTTPError("no such file", 404)
        with open(path, "rb") as file:
            yield file.read()


class Server(FetcherInterface):
    """Python's own TLS and HTTP, with a client certificate."""

    def __init__(self, ca, cert, key):
        self.context = ssl.create_default_context(cafile=ca)
        self.context.load_cert_chain(cert, key)

    def _fetch(self, url):
        try:
            with urllib.request.urlopen(url, timeout=30, context=self.context) as answer:
                yield answer.read()
        except urllib.error.HTTPError as error:
            raise DownloadHTTPError(str(error), error.code) from error


def client(folder):
    names = json.load(sys.stdin)
    update(f"file://{folder}/", Folder(), os.path.join(folder, "1.root.json"), names)


def served(url):
    given = json.load(sys.stdin)
    fetcher = Server(given["ca"], given["cert"], given["key"])
    update(url, fetcher, given["root"], given["names"])


def update(url, fetcher, first, names):
    with tempfile.TemporaryDirectory() as own:
        with open(first, "rb") as file:
            root = file.read()
        updater = Updater(metadata_dir=own, metadata_base_url=url, fetcher=fetcher, bootstrap=root)
        updater.refresh()
        found = {name: updater.get_targetinfo(name) for name in names}
        print(json.dumps({name: info and info.to_dict() for name, info in found.items()}))


def author(folder):
    def write(name, metadata):
        metadata.to_file(os.path.join(folder, name), JSONSerializer(compact=False))

    mldsa = [CryptoSigner.generate_mldsa() for _ in range(3)]
    ecdsa = [CryptoSigner.generate_ecdsa() for _ in range(3)]
    expires = datetime(2036, 1, 1, tzinfo=timezone.utc)
    root = Root(expires=expires, consistent_snapshot=True)
    both = {"root": (mldsa[0], ecdsa[0]), "targets": (mldsa[1], ecdsa[1])}
    for role, signers in both.items():
        for signer in signers:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = 2
    root.add_key(mldsa[2].public_key, "timestamp")
    root.add_key(ecdsa[2].public_key, "snapshot")
    image = TargetFile.from_data("body/1.bin", b"version 1", ["sha256", "sha512"])
    image.unrecognized_fields["custom"] = {"must_match": {"hardware_ids": ["1.0"], "release_counter": 1}}
    supplied = TargetFile.from_data("supplier/1.bin", b"supplied", ["sha256"])
    supplier = CryptoSigner.generate_mldsa()
    targets = Targets(expires=expires, targets={"body/1.bin": image})
    role = DelegatedRole("supplier", [supplier.public_key.keyid], 1, False, paths=["supplier/*"])
    targets.delegations = Delegations({supplier.public_key.keyid: supplier.public_key}, {"supplier": role})
    delegated = Metadata(Targets(expires=expires, targets={"supplier/1.bin": supplied}))
    delegated.sign(supplier)
    files = {"1.root.json": (root, both["root"]), "1.targets.json": (targets, both["targets"])}
    meta = {"targets.json": MetaFile(1), "supplier.json": MetaFile(1)}
    files["1.snapshot.json"] = (Snapshot(expires=expires, meta=meta), [ecdsa[2]])
    write("1.supplier.json", delegated)
    for name, (signed, signers) in files.items():
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        write(name, metadata)
    with open(os.path.join(folder, "1.snapshot.json"), "rb") as file:
        snapshot = MetaFile.from_data(1, file.read(), ["sha256"])
    timestamp = Metadata(Timestamp(expires=expires, snapshot_meta=snapshot))
    timestamp.sign(mldsa[2])
    write("timestamp.json", timestamp)


{"client": client, "served": served, "author": author}[sys.argv[1]](sys.argv[2])

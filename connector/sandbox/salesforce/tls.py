"""The sandbox's own certificate authority and server certificate, made once per directory."""

import ssl
from pathlib import Path

import trustme

from connector.sandbox.salesforce.auth import write_secret

CA_FILE = "ca.pem"
_CERTIFICATE, _KEY = "salesforce-server.pem", "salesforce-server-key.pem"


def certificate(directory: Path) -> tuple[Path, Path]:
    """Paths of the server's certificate chain and private key; ca.pem beside them is what clients trust.

    The key of the authority is thrown away: nothing else can be signed in its name.
    """
    chain, key = directory / _CERTIFICATE, directory / _KEY
    if not (chain.exists() and key.exists() and (directory / CA_FILE).exists()):
        authority = trustme.CA(organization_name="Salesforce sandbox")
        server = authority.issue_cert("127.0.0.1", "localhost")
        write_secret(key, server.private_key_pem.bytes().decode())
        chain.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
        (directory / CA_FILE).write_bytes(authority.cert_pem.bytes())
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(chain, key)
    return chain, key

"""Secrets that the connector itself has to keep (OAuth tokens), encrypted at rest. Pure but for the random salt."""

import base64
import secrets

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from connector.errors import StoreError

SCRYPT_N = 2**15
"""Cost of deriving the key, with r=8 and p=1: 32 MiB and about a tenth of a second. RFC 7914 names 2**14 for
interactive use; the key is meant to be random, the cost only guards a weak one."""


def seal(key: str, text: str) -> tuple[str, str]:
    """(salt, sealed text). Every call takes a new salt."""
    salt = secrets.token_hex(16)
    return salt, _cipher(key, salt).encrypt(text.encode()).decode()


def unseal(key: str, name: str, salt: str, sealed: str) -> str:
    """Raises StoreError when the key is not the one it was sealed with, or the row was tampered with."""
    try:
        return _cipher(key, salt).decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise StoreError(
            f"The secret {name!r} in the store cannot be opened with this key.",
            "Give the key it was stored with, or connect the account again to store a new one.",
        ) from None


def _cipher(key: str, salt: str) -> Fernet:
    derived = Scrypt(salt=bytes.fromhex(salt), length=32, n=SCRYPT_N, r=8, p=1).derive(key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))

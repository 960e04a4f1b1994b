"""Signatures over what Voxtra posts: one body, two schemes beside each other.

* `X-Voxtra-Signature`: HMAC-SHA256 of the raw body in hex, keyed with the secret as it is written.
* Standard Webhooks: `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over
  `{webhook-id}.{webhook-timestamp}.{body}`, so that an old message can't be sent again. Its key is
  what follows `whsec_`, decoded from base64; a secret without this prefix is taken as it is written
  (give `standardwebhooks.Webhook` its bytes then).

While a secret is being replaced there are two: Standard Webhooks has room for a signature of each,
separated by a space; `X-Voxtra-Signature` is of the current secret alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from voxtra.exceptions import ConfigurationError

__all__ = ["Signer"]

_PREFIX = "whsec_"


class Signer:
    """Signs with the secrets given, the current one first; an empty one is none, and without any it
    signs nothing.

    Raises `ConfigurationError` when a secret begins with `whsec_` and no base64 follows.
    """

    def __init__(self, *secrets: str) -> None:
        live = [secret for secret in secrets if secret]
        self._standard_keys = [_standard_key(secret) for secret in live]
        self._key = _raw(live[0]) if live else b""

    def headers(self, body: bytes, *, message_id: str, timestamp: int) -> dict[str, str]:
        """Return the headers for one try to send `body`; `timestamp` is its Unix time in seconds.

        `message_id` is the same in every try, so that the receiver knows a repetition.
        """
        headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
        if self._key:
            message = f"{message_id}.{timestamp}.".encode() + body
            standard = [base64.b64encode(_hmac(key, message)) for key in self._standard_keys]
            headers["webhook-signature"] = " ".join(f"v1,{each.decode()}" for each in standard)
            headers["X-Voxtra-Signature"] = _hmac(self._key, body).hex()
        return headers


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, hashlib.sha256)


def _raw(secret: str) -> bytes:
    # what came from the environment may hold bytes that are no UTF-8
    return secret.encode(errors="surrogateescape")


def _standard_key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        return _raw(secret)
    encoded = secret.removeprefix(_PREFIX)
    try:
        # the padding is often left away
        key = base64.b64decode(
            encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4), validate=True
        )
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ConfigurationError(
            "begins with whsec_, but what follows is not base64",
            field="signing_secret",
            fix="Copy the whole secret, or use one without that prefix",
        )
    return key

"""Signatures: the seed's, and Standard Webhooks with the reference library as the oracle."""

from __future__ import annotations

import base64
import json
import time

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from voxtra.exceptions import ConfigurationError
from voxtra.signing import Signer

bodies = st.dictionaries(st.text(), st.text() | st.integers()).map(
    lambda value: json.dumps(value).encode()
)
secrets = st.text(min_size=1).filter(lambda text: not text.startswith("whsec_"))


def test_body_signature_is_the_published_vector():
    """`X-Voxtra-Signature` is HMAC-SHA256 in hex: test case 2 of RFC 4231."""
    body = b"what do ya want for nothing?"
    headers = Signer("Jefe").headers(body, message_id="m", timestamp=0)
    assert headers["X-Voxtra-Signature"] == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@given(body=bodies, key=st.binary(min_size=1, max_size=64), padded=st.booleans())
def test_whsec_secret_verifies_with_the_reference_library(body: bytes, key: bytes, padded: bool):
    """A `whsec_` secret gives a signature that the reference library accepts, padded or not."""
    secret = "whsec_" + base64.b64encode(key).decode()
    signer = Signer(secret if padded else secret.rstrip("="))
    headers = signer.headers(body, message_id="msg_1", timestamp=int(time.time()))
    assert standardwebhooks.Webhook(secret).verify(body, headers) == json.loads(body)


@given(body=bodies, secret=secrets)
def test_plain_secret_verifies_with_its_bytes(body: bytes, secret: str):
    """A plain secret is the key as it is written."""
    headers = Signer(secret).headers(body, message_id="msg_1", timestamp=int(time.time()))
    assert standardwebhooks.Webhook(secret.encode()).verify(body, headers) == json.loads(body)


@pytest.mark.parametrize("change", ["webhook-id", "webhook-timestamp", "body"])
def test_any_change_breaks_the_signature(change: str):
    """The id, the time and the body are all covered by the Standard Webhooks signature."""
    now = int(time.time())
    headers = Signer("secret").headers(b"{}", message_id="msg_1", timestamp=now)
    body = b"{ }" if change == "body" else b"{}"
    if change == "webhook-id":
        headers["webhook-id"] = "msg_2"
    if change == "webhook-timestamp":
        headers["webhook-timestamp"] = str(now - 1)
    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        standardwebhooks.Webhook(b"secret").verify(body, headers)


@given(body=bodies, new=st.binary(min_size=1, max_size=64), old=secrets)
def test_each_live_secret_verifies_while_one_is_replaced(body: bytes, new: bytes, old: str):
    """With two secrets the receiver verifies with either, the body's signature is the first's."""
    secret = "whsec_" + base64.b64encode(new).decode()
    now = int(time.time())
    headers = Signer(secret, old).headers(body, message_id="msg_1", timestamp=now)
    assert standardwebhooks.Webhook(secret).verify(body, headers) == json.loads(body)
    assert standardwebhooks.Webhook(old.encode()).verify(body, headers) == json.loads(body)
    alone = Signer(secret).headers(body, message_id="msg_1", timestamp=now)
    assert headers["X-Voxtra-Signature"] == alone["X-Voxtra-Signature"]


def test_an_empty_old_secret_signs_nothing():
    """Without a second secret there is one signature."""
    headers = Signer("secret", "").headers(b"{}", message_id="m", timestamp=7)
    assert headers == Signer("secret").headers(b"{}", message_id="m", timestamp=7)
    assert headers["webhook-signature"].count("v1,") == 1


def test_without_a_secret_nothing_is_signed():
    """Without a secret the id and the time travel, and no signature does."""
    assert Signer().headers(b"{}", message_id="m", timestamp=7) == {
        "webhook-id": "m",
        "webhook-timestamp": "7",
    }


@pytest.mark.parametrize("secret", ["whsec_", "whsec_!!", "whsec_a", "whsec_ä", "whsec_="])
def test_broken_whsec_secret_is_refused(secret: str):
    """What begins with `whsec_` and is no base64 was copied badly: one error names the setting."""
    with pytest.raises(ConfigurationError, match="not base64") as caught:
        Signer(secret)
    assert caught.value.field == "signing_secret"

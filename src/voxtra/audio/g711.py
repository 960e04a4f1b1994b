"""G.711: mu-law and A-law to and from 16-bit samples, for whole arrays at once.

Encoding drops the low bits of the magnitude (14 bits kept for mu-law, 13 for A-law), so it is
symmetric in the sign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_alaw", "decode_mulaw", "encode_alaw", "encode_mulaw"]

_CODES = np.arange(256, dtype=np.int32)


def _mulaw_table() -> NDArray[np.int16]:
    code = _CODES ^ 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> NDArray[np.int16]:
    code = _CODES ^ 0x55
    exponent = code >> 4 & 7
    mantissa = (code & 0x0F) << 4
    shift = np.maximum(exponent - 1, 0)
    magnitude = np.where(exponent == 0, mantissa + 8, mantissa + 0x108 << shift)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_MULAW = _mulaw_table()
_ALAW = _alaw_table()
_MULAW_SEGMENTS = 64 << np.arange(7, dtype=np.int32)  # first magnitude of segments 1 to 7
_ALAW_SEGMENTS = 16 << np.arange(7, dtype=np.int32)


def decode_mulaw(data: bytes | bytearray | memoryview) -> NDArray[np.int16]:
    """Return the 16-bit samples of mu-law bytes."""
    return _MULAW[np.frombuffer(data, np.uint8)]


def decode_alaw(data: bytes | bytearray | memoryview) -> NDArray[np.int16]:
    """Return the 16-bit samples of A-law bytes."""
    return _ALAW[np.frombuffer(data, np.uint8)]


def encode_mulaw(samples: NDArray[np.int16]) -> bytes:
    """Return the mu-law bytes of 16-bit samples."""
    value = samples.astype(np.int32)
    biased = np.minimum(np.abs(value) >> 2, 8158) + 33
    exponent = np.searchsorted(_MULAW_SEGMENTS, biased, side="right").astype(np.int32)
    mantissa = biased >> exponent + 1 & 0x0F
    sign = np.where(value < 0, 0x80, 0)
    code: NDArray[np.int32] = (sign | exponent << 4 | mantissa) ^ 0xFF
    return code.astype(np.uint8).tobytes()


def encode_alaw(samples: NDArray[np.int16]) -> bytes:
    """Return the A-law bytes of 16-bit samples."""
    value = samples.astype(np.int32)
    magnitude = np.minimum(np.abs(value) >> 4, 2047)
    exponent = np.searchsorted(_ALAW_SEGMENTS, magnitude, side="right").astype(np.int32)
    mantissa = magnitude >> np.maximum(exponent - 1, 0) & 0x0F
    sign = np.where(value < 0, 0, 0x80)
    code: NDArray[np.int32] = (sign | exponent << 4 | mantissa) ^ 0x55
    return code.astype(np.uint8).tobytes()

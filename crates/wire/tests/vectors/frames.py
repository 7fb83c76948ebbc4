"""Writes frames.txt: frames as Python's undr.task packs them, with struct.pack("<cQ", kind, length) + payload.

    python3 frames.py > frames.txt

A line is `frame KIND PAYLOAD BYTES` or `header KIND LENGTH BYTES`; kinds, payloads and bytes in hexadecimal, `-` for
nothing, lengths in decimal.
"""

import pickle
import struct


def pack(kind, length):
    return struct.pack("<cQ", bytes([kind]), length)


def frame(kind, payload=b""):
    print("frame", f"{kind:02x}", payload.hex() or "-", (pack(kind, len(payload)) + payload).hex())


def header(kind, length):
    print("header", f"{kind:02x}", length, pack(kind, length).hex())


# What a worker sends: idle, done, messages, tasks to schedule at the first, second and last priority.
frame(ord("n"))
frame(ord("t"))
frame(ord("m"), b"hello")
frame(ord("m"), pickle.dumps({"files": 3, "name": "caf\u00e9"}, protocol=4))
frame(0x80, pickle.dumps(["task", 0], protocol=4))
frame(0x81, b"\x00")
frame(0xFF, bytes(range(256)))
# What a manager sends: a task, and that a message and a task were accepted.
frame(ord("t"), pickle.dumps(("task", 1.5, None), protocol=4))
frame(ord("m"))
frame(ord("s"))
# Payloads that look like headers, and lengths of one and two bytes.
frame(0x12, pack(ord("m"), 2**64 - 1))
frame(0x00, b"\xff" * 255)
frame(0x01, b"\x0a" * 256)
frame(0x02, b"n" * 257)

for power in range(0, 64, 7):
    header(ord("m"), 2**power)
header(ord("m"), 0)
header(ord("m"), 0x0102030405060708)
header(ord("m"), 64 * 1024 * 1024)
header(0xFF, 2**64 - 1)

"""Writes undr_task.txt: what the functions of Python's undr.task send, and what they make of what they receive.

    python3 -m venv venv && venv/bin/pip install undr==1.0.1 && venv/bin/python undr_task.py > undr_task.txt

A line is one of

    send FUNCTION KIND PAYLOAD BYTES     the function was called with this kind and this payload, and sent these bytes
    receive FUNCTION ARGUMENT BYTES OUTCOME
                                         the function was called with this kind, and these bytes came, then the end;
                                         OUTCOME is `KIND PAYLOAD`, `ok`, or `error NAME`
    talk SIDE CALL BYTES                 one side's part of a conversation between undr's worker (`Proxy`) and its manager
                                         (`RequestHandler`), in the order in which they came

Kinds, payloads and bytes are hexadecimal; `-` is nothing.
"""

import collections
import pickle
import socket
import threading
import types

import jsonschema_rs

# undr 1.0.1 compiles a schema when it is imported, by a name that jsonschema_rs has dropped since. Nothing here uses it.
if not hasattr(jsonschema_rs, "JSONSchema"):
    jsonschema_rs.JSONSchema = lambda schema: None

from undr import task  # noqa: E402


class Digest(task.Task):
    def __init__(self, path):
        self.path = path


def drain(end):
    end.settimeout(0)
    data = b""
    try:
        while chunk := end.recv(1 << 16):
            data += chunk
    except BlockingIOError:
        pass
    return data


def hexadecimal(data):
    return bytes(data).hex() or "-"


def send(function, kind, *message):
    ours, theirs = socket.socketpair()
    getattr(task, function)(ours, kind, *message)
    payload = b"" if not message else message[0] if function == "send_bytes" else pickle.dumps(message[0])
    print("send", function, kind.hex(), hexadecimal(payload), hexadecimal(drain(theirs)))


def receive(function, data, kind=None):
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    arguments = {"receive_message": (False,), "receive_type": (kind,)}.get(function, ())
    try:
        outcome = getattr(task, function)(ours, *arguments)
        outcome = "ok" if outcome is None else f"{outcome[0].hex()} {hexadecimal(outcome[1])}"
    except Exception as error:
        outcome = f"error {type(error).__name__}"
    print("receive", function, "-" if kind is None else kind.hex(), hexadecimal(data), outcome)


# Each function, with each letter that its documentation gives it, both ways, and at the edges of the priorities.
for kind in (b"n", b"t", b"m", b"s"):
    send("send_type", kind)
for kind in (b"m", b"t", b"\x80", b"\x81", b"\xff"):
    send("send_message", kind, {"files": 3, "name": "caf\u00e9"})
send("send_message", b"t", None)
send("send_message", b"t", task.CloseRequest())
send("send_message", b"\x80", Digest("a"))
send("send_bytes", b"m", b"")
send("send_bytes", b"m", b"bytes that are no pickle")
send("send_bytes", b"t", bytes(range(256)) * 2)

message = b"m\x05\0\0\0\0\0\0\0hello"
for function in ("receive_bytes", "receive_message"):
    receive(function, message)
    receive(function, b"n" + bytes(8))
    receive(function, b"")
    receive(function, message[:4])
    receive(function, message[:-1])
receive("receive_type", b"s" + bytes(8), b"s")
receive("receive_type", b"m" + bytes(8), b"s")
# It does not read on until the type comes, as its documentation says.
receive("receive_type", b"m" + bytes(8) + b"s" + bytes(8), b"s")
receive("receive_type", b"s\x01\0\0\0\0\0\0\0x", b"s")
receive("receive_type", b"", b"s")


class Recorded:
    """A socket whose sends are recorded, in the order of both sides: a side sends only in answer to the other."""

    def __init__(self, inner, side):
        self.inner, self.side = inner, side

    def sendall(self, data):
        print("talk", self.side, call, hexadecimal(data))
        self.inner.sendall(data)

    def __getattr__(self, name):
        return getattr(self.inner, name)


manager = object.__new__(task.ProcessManager)
manager.running = True
manager.message_queue = []
manager.task_queues = tuple(collections.deque() for _ in range(2))
manager.tasks_left_lock = threading.Lock()
manager.tasks_left = 0
worker_end, manager_end = socket.socketpair()
handler = object.__new__(task.ProcessManager.RequestHandler)
handler.request = Recorded(manager_end, "manager")
handler.server = types.SimpleNamespace(manager=manager)
serving = threading.Thread(target=handler.handle)
serving.start()
proxy = task.ProcessManager.Proxy(0)
proxy.client = Recorded(worker_end, "worker")

call = "next_task"
assert proxy.next_task() is None
call = "schedule"
proxy.schedule(Digest("a"), priority=0)
proxy.schedule(Digest("b"))
call = "next_task"
assert proxy.next_task().path == "a"
call = "send_message"
proxy.send_message("digested")
call = "acknowledge_and_next_task"
assert proxy.acknowledge_and_next_task().path == "b"
assert proxy.acknowledge_and_next_task() is None
call = "next_task"
manager.running = False
assert isinstance(proxy.next_task(), task.CloseRequest)
worker_end.close()
serving.join()
assert (manager.tasks_left, manager.message_queue) == (0, ["digested"])

# How many priorities there are, of the 128 that the documentation of the letters promises.
try:
    task.ProcessManager(workers=1, priority_levels=128)
except AssertionError:
    print("levels 127")

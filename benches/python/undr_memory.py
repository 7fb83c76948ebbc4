"""undr.task.ProcessManager, 2 workers, both busy: resident bytes for each waiting task."""

import signal

import measure

try:
    import undr.task
except Exception as error:
    measure.not_installed("undr", error)

WORKERS = 2
FEW = 10_000
MANY = 100_000
PAYLOAD_BYTES = 16


class WaitForEver(undr.task.Task):
    def run(self, session, manager):
        manager.send_message("waiting")
        signal.pause()


class Small(undr.task.Task):
    def __init__(self, payload):
        self.payload = payload

    def run(self, session, manager):
        pass


def once():
    manager = undr.task.ProcessManager(workers=WORKERS)
    for _ in range(WORKERS):
        manager.schedule(WaitForEver())
    messages = manager.messages()
    for _ in range(WORKERS):
        next(messages)
    for number in range(FEW):
        manager.schedule(Small(bytes([number % 256]) * PAYLOAD_BYTES))
    before = measure.resident_bytes()
    for number in range(MANY - FEW):
        manager.schedule(Small(bytes([number % 256]) * PAYLOAD_BYTES))
    after = measure.resident_bytes()
    return (after - before) / (MANY - FEW) - PAYLOAD_BYTES


if __name__ == "__main__":
    measure.main("undr_memory", "B/task", once, package="undr")
    measure.end_at_once()

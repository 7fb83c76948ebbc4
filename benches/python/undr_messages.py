"""undr.task.ProcessManager, 2 workers: messages per second from one task in each to the inbox."""

import time

import measure

try:
    import undr.task
except Exception as error:
    measure.not_installed("undr", error)

MESSAGES = 20_000
WORKERS = 2


class Noop(undr.task.Task):
    def run(self, session, manager):
        pass


class Chatter(undr.task.Task):
    def run(self, session, manager):
        for number in range(MESSAGES):
            manager.send_message(number)


def once():
    manager = undr.task.ProcessManager(workers=WORKERS)
    for _ in range(4 * WORKERS):
        manager.schedule(Noop())
    for _ in manager.messages():
        pass
    start = time.perf_counter()
    for _ in range(WORKERS):
        manager.schedule(Chatter())
    total = sum(manager.messages())
    took = time.perf_counter() - start
    manager.close(undr.task.ProcessManager.ClosePolicy.JOIN)
    assert total == WORKERS * MESSAGES * (MESSAGES - 1) // 2, total
    return WORKERS * MESSAGES / took


if __name__ == "__main__":
    measure.main("undr_messages", "messages/s", once, package="undr")

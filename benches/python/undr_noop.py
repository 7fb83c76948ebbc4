"""undr.task.ProcessManager, 2 workers: no-op tasks per second, scheduled and run to the end of messages().

Its tasks have no results. messages() looks every 0.1 s whether all is done, so the run is long beside that.
"""

import time

import measure

try:
    import undr.task
except Exception as error:
    measure.not_installed("undr", error)

TASKS = 100_000
WORKERS = 2


class Noop(undr.task.Task):
    def run(self, session, manager):
        pass


def run_all(manager, tasks):
    for _ in range(tasks):
        manager.schedule(Noop())
    for _ in manager.messages():
        pass


def once():
    manager = undr.task.ProcessManager(workers=WORKERS)
    run_all(manager, 100)
    start = time.perf_counter()
    run_all(manager, TASKS)
    took = time.perf_counter() - start
    manager.close(undr.task.ProcessManager.ClosePolicy.JOIN)
    return TASKS / took


if __name__ == "__main__":
    measure.main("undr_noop", "tasks/s", once, package="undr")

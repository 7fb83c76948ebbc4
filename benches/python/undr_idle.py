"""undr.task.ProcessManager: idle, to be watched. Argument: how many workers."""

import sys

import measure

try:
    import undr.task
except Exception as error:
    measure.not_installed("undr", error)


class Noop(undr.task.Task):
    def run(self, session, manager):
        pass


if __name__ == "__main__":
    if "--version" in sys.argv[1:]:
        measure.main("undr_idle", "", None, package="undr")
    else:
        manager = undr.task.ProcessManager(workers=int(measure.argument("8")))
        for _ in range(1000):
            manager.schedule(Noop())
        for _ in manager.messages():
            pass
        measure.stay_idle()
        manager.close(undr.task.ProcessManager.ClosePolicy.JOIN)

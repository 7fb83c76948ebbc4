"""Work that takes as long as asked, as the other contenders do it."""

import time


def spin(seconds):
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        pass

"""multiprocessing.Pool: idle, to be watched. Argument: how many workers."""

import multiprocessing
import sys

import measure


def noop(number):
    return number


if __name__ == "__main__":
    if "--version" in sys.argv[1:]:
        measure.main("mp_pool_idle", "", None)
    else:
        with multiprocessing.Pool(int(measure.argument("8"))) as pool:
            pool.map(noop, range(1000), chunksize=1)
            measure.stay_idle()

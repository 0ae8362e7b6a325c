#!/usr/bin/env python3
"""peers.py - pyprep beside CPython's own pools: the same work, in the same run, and the ratios.

    tests/bench/peers.py [--pyprepctl PATH] [--rows NAME,...] [--full]

For each row of `pyprepctl bench` that CPython can do at all, the same work is done by
ProcessPoolExecutor, ThreadPoolExecutor, multiprocessing.Pool and asyncio, whichever fit, with
as many workers as the row has (2; sleeps get what each needs to have them all at once, but
for the process pools).  pyprep's own figure comes from `pyprepctl bench ROW --json`, run
right before its peers, so that both meet the same machine.

  attached_latency  a call that does nothing, one in flight: median time (ns)
  attached_rate     calls that do nothing, all submitted, then all awaited: calls/s
  array_items       map of x*x with all results received, best chunk size of three: items/s
  sleeps_1000       1,000 sleeps of 10 ms: wall time (ms)
  sumsq_4           4 sums of squares of 0 .. 999,999: wall time (ms).  The loop is Python's
                    there and C's here: what counts as much is that threads do not help it
  exec_rate         /bin/true, 2 at once: commands/s

Peers do less work per row than pyprep, so that the whole takes a minute; figures are rates
and medians, so that does not matter.  Exit status 1 when a row of pyprep could not be measured.
"""

import argparse
import asyncio
import concurrent.futures
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time

WORKERS = 2
SLEEPS, SLEEP_S = 1000, 0.010
SUMSQ_JOBS, SUMSQ_N = 4, 1_000_000
LOWER_IS_BETTER = {"ns", "us", "ms"}


def noop():
    return None


def noop_of(_):
    return None


def square(x):
    return x * x


def sumsq(n):
    total = 0
    for i in range(n):
        total += i * i
    return total


def run_true(_):
    return subprocess.run(["/bin/true"], check=True).returncode


# ---- pools behind one face: name, one(f), many(f, items), spread(f, items, chunk) ----


class Executor:
    def __init__(self, name, kind, workers, **options):
        self.name = name
        self.pool = kind(max_workers=workers, **options)
        self.many(noop_of, range(4 * workers))  # start the workers

    def one(self, f):
        return self.pool.submit(f).result()

    def many(self, f, items):
        return [future.result() for future in [self.pool.submit(f, x) for x in items]]

    def spread(self, f, items, chunk):
        return list(self.pool.map(f, items, chunksize=chunk))

    def close(self):
        self.pool.shutdown()


class Pool:
    name = "multiprocessing.Pool"

    def __init__(self, workers):
        self.pool = multiprocessing.get_context("fork").Pool(workers)
        self.many(noop_of, range(4 * workers))

    def one(self, f):
        return self.pool.apply(f)

    def many(self, f, items):
        return [result.get() for result in [self.pool.apply_async(f, (x,)) for x in items]]

    def spread(self, f, items, chunk):
        return self.pool.map(f, items, chunk)

    def close(self):
        self.pool.terminate()
        self.pool.join()


def thread_pool(workers=WORKERS):
    return Executor("ThreadPoolExecutor", concurrent.futures.ThreadPoolExecutor, workers)


def process_pool(workers=WORKERS):
    return Executor("ProcessPoolExecutor", concurrent.futures.ProcessPoolExecutor, workers,
                    mp_context=multiprocessing.get_context("fork"))


def on_each(makers, measure):
    """{name: measure(pool)} for a fresh pool of each maker."""
    figures = {}
    for make in makers:
        pool = make()
        try:
            figures[pool.name] = measure(pool)
        finally:
            pool.close()
    return figures


def took(f, *args):
    begun = time.perf_counter()
    f(*args)
    return time.perf_counter() - begun


ALL = [process_pool, thread_pool, lambda: Pool(WORKERS)]

# ---- the rows ----


def attached_latency(full):
    count = 5000 if full else 1500

    def measure(pool):
        return statistics.median(took(pool.one, noop) for _ in range(count)) * 1e9

    async def tasks():
        async def nothing():
            return None

        times = []
        for _ in range(count):
            begun = time.perf_counter()
            await asyncio.create_task(nothing())
            times.append(time.perf_counter() - begun)
        return statistics.median(times) * 1e9

    figures = on_each(ALL, measure)
    figures["asyncio (same process)"] = asyncio.run(tasks())
    return figures


def attached_rate(full):
    count = 50_000 if full else 10_000

    def measure(pool):
        return count / took(pool.many, noop_of, range(count))

    async def tasks():
        async def nothing():
            return None

        begun = time.perf_counter()
        await asyncio.gather(*(nothing() for _ in range(count)))
        return count / (time.perf_counter() - begun)

    figures = on_each(ALL, measure)
    figures["asyncio (same process)"] = asyncio.run(tasks())
    return figures


def array_items(full):
    count = 1_000_000 if full else 200_000

    def measure(pool):
        return count / min(took(pool.spread, square, range(count), c) for c in (256, 4096, 65536))

    return on_each([process_pool, lambda: Pool(WORKERS)], measure)


def nap(_):
    time.sleep(SLEEP_S)


def sleeps_1000(full):
    def measure(pool):
        return statistics.median(took(pool.many, nap, range(SLEEPS))
                                 for _ in range(5 if full else 2)) * 1e3

    async def tasks():
        await asyncio.gather(*(asyncio.sleep(SLEEP_S) for _ in range(SLEEPS)))

    figures = on_each([lambda: thread_pool(SLEEPS), lambda: process_pool(32)], measure)
    figures["asyncio"] = statistics.median(took(asyncio.run, tasks()) for _ in range(9)) * 1e3
    return {{"ThreadPoolExecutor": f"ThreadPoolExecutor, {SLEEPS} threads",
             "ProcessPoolExecutor": "ProcessPoolExecutor, 32 processes"}.get(k, k): v
            for k, v in figures.items()}


def sumsq_4(full):
    def measure(pool):
        return statistics.median(took(pool.many, sumsq, [SUMSQ_N] * SUMSQ_JOBS)
                                 for _ in range(7 if full else 3)) * 1e3

    return on_each(ALL, measure)


def exec_rate(full):
    count = 1000 if full else 200

    def measure(pool):
        return count / took(pool.many, run_true, range(count))

    async def commands():
        gate = asyncio.Semaphore(WORKERS)

        async def command():
            async with gate:
                process = await asyncio.create_subprocess_exec("/bin/true")
                await process.wait()

        await asyncio.gather(*(command() for _ in range(count)))

    figures = on_each([thread_pool], measure)
    figures["ThreadPoolExecutor + subprocess"] = figures.pop("ThreadPoolExecutor")
    figures["asyncio subprocess"] = count / took(asyncio.run, commands())
    return figures


ROWS = [attached_latency, attached_rate, array_items, sleeps_1000, sumsq_4, exec_rate]

# ---- pyprep's side, and the table ----


def bench(ctl, row, full):
    command = [ctl, "bench", row, "--json"] + ([] if full else ["--quick"])
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines()
    figure = json.loads(lines[-1]) if lines else {}
    if figure.get("value") is None:
        message = figure.get("error", f"status {done.returncode}")
        print(f"{row}: pyprep was not measured: {message}", file=sys.stderr)
        return None
    return figure


def text(value, unit):
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.4g} {unit}"


def default_ctl():
    here = os.path.dirname(os.path.abspath(__file__))
    built = os.path.join(here, "..", "..", "build", "release", "bin", "pyprepctl")
    return built if os.access(built, os.X_OK) else "pyprepctl"


def main():
    names = [row.__name__ for row in ROWS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pyprepctl", default=default_ctl(), metavar="PATH",
                        help="default: build/release/bin/pyprepctl, else the one in PATH")
    parser.add_argument("--rows", default=",".join(names), metavar="NAME,...")
    parser.add_argument("--full", action="store_true", help="more repetitions: minutes")
    options = parser.parse_args()
    wanted = options.rows.split(",")
    unknown = [name for name in wanted if name not in names]
    if unknown:
        parser.error(f"no row {unknown[0]}; rows: {', '.join(names)}")

    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}")
    print(f"{'row':<17} {'by':<34} {'value':>21}  pyprep is")
    status = 0
    for row in ROWS:
        if row.__name__ not in wanted:
            continue
        ours = bench(options.pyprepctl, row.__name__, options.full)
        if ours is None:
            status = 1
            continue
        unit = ours["unit"]
        print(f"{row.__name__:<17} {'pyprep':<34} {text(ours['value'], unit):>21}  "
              f"{ours['ratio']:.2f} x its floor, {text(ours['floor'], unit)}", flush=True)
        for name, value in row(options.full).items():
            ratio = value / ours["value"] if unit in LOWER_IS_BETTER else ours["value"] / value
            print(f"{'':<17} {name:<34} {text(value, unit):>21}  {ratio:,.1f} x as fast",
                  flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())

# call.py - calls that do nothing: one in flight, and all at once.
mode, way, calls = param("mode", "latency"), param("way", "multiprocessing"), param("calls", 2000)
WARM = 100


def nothing(_=None):
    return None


def one_by_one(pool):
    times = []
    for i in range(WARM + calls):
        begun = time.monotonic()
        pool.one(nothing)
        if i >= WARM:
            times.append(time.monotonic() - begun)
    return times


async def tasks_one_by_one():
    import asyncio

    async def task():
        return None

    times = []
    for _ in range(calls):
        begun = time.monotonic()
        await asyncio.create_task(task())
        times.append(time.monotonic() - begun)
    return times


async def tasks_at_once():
    import asyncio

    async def task():
        return None

    await asyncio.gather(*(task() for _ in range(calls)))


workers = param("workers", 2)
if mode == "latency":
    if way == "asyncio":
        seconds, cpu, times = run_asyncio(tasks_one_by_one())
    else:
        seconds, cpu, times = run_way(way, workers, one_by_one)
    answer(seconds=sum(times), rate_per_s=calls / sum(times), **percentiles(times))
else:
    if way == "asyncio":
        seconds, cpu, _ = run_asyncio(tasks_at_once())
    else:
        seconds, cpu, _ = run_way(way, workers, lambda pool: pool.many(nothing, range(calls)))
    answer(seconds=seconds, rate_per_s=calls / seconds, cpu_seconds=cpu)

# ways.py - stands behind common.py: the ways to do many calls at once, for cpu, io and map.
#
# A pool is started, and each of its workers has worked, before the clock runs.

def in_threads(f, items, workers):
    import threading

    results = [None] * len(items)

    def work(first):
        for i in range(first, len(items), workers):
            results[i] = f(items[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def warm_up(seconds):
    time.sleep(seconds)


def make_way(way, workers):
    """(run(f, items, chunksize), close())"""
    import concurrent.futures

    if way == "sequential":
        return (lambda f, items, chunk: [f(x) for x in items]), (lambda: None)
    if way == "threading":
        return (lambda f, items, chunk: in_threads(f, items, workers)), (lambda: None)
    if way == "multiprocessing":
        pool = FORK.Pool(workers)
        pool.map(warm_up, [0.01] * (2 * workers), 1)
        return (lambda f, items, chunk: pool.map(f, items, chunk)), pool.terminate
    if way == "threadpool":
        pool = concurrent.futures.ThreadPoolExecutor(workers)
    elif way == "processpool":
        pool = concurrent.futures.ProcessPoolExecutor(workers, mp_context=FORK)
    else:
        sys.exit(f"there is no way '{way}'")
    list(pool.map(warm_up, [0.01] * (2 * workers)))
    return (lambda f, items, chunk: list(pool.map(f, items, chunksize=chunk))), pool.shutdown


def run_way(way, f, items, workers, chunk=1):
    """Seconds, CPU seconds of this process and its workers, the results."""
    run, close = make_way(way, workers)
    pids = [child.pid for child in multiprocessing.active_children()]
    cpu = sum(map(cpu_of, pids))
    with Stopwatch() as watch:
        results = run(f, items, chunk)
    cpu = sum(map(cpu_of, pids)) - cpu + watch.cpu
    close()
    return watch.ended - watch.begun, cpu, results


def run_asyncio(coroutine):
    """The same for a coroutine that does all the work."""
    import asyncio

    async def timed():
        with Stopwatch() as watch:
            results = await coroutine
        return watch.ended - watch.begun, watch.cpu, results

    return asyncio.run(timed())



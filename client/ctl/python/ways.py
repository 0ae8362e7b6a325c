# ways.py - stands behind common.py: the ways to do many calls at once, behind one face.
#
#   map(f, items, chunk)   results in order, `chunk` calls to a message where there are messages
#   one(f)                 one call, and its result
#   many(f, items)         each call on its own, all under way before the first result is taken
#   close()
#
# A pool is started, and each of its workers has worked, before the clock runs.
WARM_S = 0.01


class Sequential:
    def __init__(self, workers):
        pass

    def map(self, f, items, chunk):
        return [f(x) for x in items]

    def one(self, f):
        return f()

    def many(self, f, items):
        return [f(x) for x in items]

    def close(self):
        pass


class Threads:
    """threading.Thread, as many as workers, each with its share.  It knows map() only."""

    def __init__(self, workers):
        self.workers = workers

    def map(self, f, items, chunk):
        import threading

        results = [None] * len(items)

        def work(first):
            for i in range(first, len(items), self.workers):
                results[i] = f(items[i])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(self.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def close(self):
        pass


class Pool:
    """multiprocessing.Pool"""

    def __init__(self, workers):
        self.pool = FORK.Pool(workers)
        self.pool.map(time.sleep, [WARM_S] * (2 * workers), 1)

    def map(self, f, items, chunk):
        return self.pool.map(f, items, chunk)

    def one(self, f):
        return self.pool.apply(f)

    def many(self, f, items):
        return [result.get() for result in [self.pool.apply_async(f, (x,)) for x in items]]

    def close(self):
        self.pool.terminate()
        self.pool.join()


class Executor:
    """concurrent.futures"""

    def __init__(self, pool, workers):
        self.pool = pool
        self.many(time.sleep, [WARM_S] * (2 * workers))

    def map(self, f, items, chunk):
        return list(self.pool.map(f, items, chunksize=chunk))

    def one(self, f):
        return self.pool.submit(f).result()

    def many(self, f, items):
        return [future.result() for future in [self.pool.submit(f, x) for x in items]]

    def close(self):
        self.pool.shutdown()


def thread_pool(workers):
    import concurrent.futures

    return Executor(concurrent.futures.ThreadPoolExecutor(workers), workers)


def process_pool(workers):
    import concurrent.futures

    return Executor(concurrent.futures.ProcessPoolExecutor(workers, mp_context=FORK), workers)


WAYS = {"sequential": Sequential, "threading": Threads, "multiprocessing": Pool,
        "threadpool": thread_pool, "processpool": process_pool}


def run_way(way, workers, work):
    """Seconds, CPU seconds of this process and its workers, and what work(pool) returned."""
    if way not in WAYS:
        sys.exit(f"there is no way '{way}'")
    pool = WAYS[way](workers)
    pids = [child.pid for child in multiprocessing.active_children()]
    cpu = sum(map(cpu_of, pids))
    with Stopwatch() as watch:
        results = work(pool)
    cpu = sum(map(cpu_of, pids)) - cpu + watch.cpu
    pool.close()
    return watch.ended - watch.begun, cpu, results


def run_asyncio(coroutine):
    """The same for a coroutine that does all the work."""
    import asyncio

    async def timed():
        with Stopwatch() as watch:
            results = await coroutine
        return watch.ended - watch.begun, watch.cpu, results

    return asyncio.run(timed())



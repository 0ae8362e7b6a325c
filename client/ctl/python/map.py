# map.py - squares of 0 .. count-1, all results received.
count = param("count", 1000000)


def square(x):
    return x * x


seconds, cpu, results = run_way(param("way", "multiprocessing"), square, range(count),
                                param("workers", 2), param("chunksize", 4096))
answer(seconds=seconds, rate_per_s=count / seconds, cpu_seconds=cpu, total=sum(results))

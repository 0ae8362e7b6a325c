# map.py - squares of 0 .. count-1, all results received.
count, chunk = param("count", 1000000), param("chunksize", 4096)


def square(x):
    return x * x


seconds, cpu, results = run_way(param("way", "multiprocessing"), param("workers", 2),
                                lambda pool: pool.map(square, range(count), chunk))
answer(seconds=seconds, rate_per_s=count / seconds, cpu_seconds=cpu, total=sum(results))

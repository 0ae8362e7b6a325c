# batching.py - what it brings to hand out several calls in one message.
count, workers = param("count", 20000), param("workers", 2)


def square(x):
    return x * x


def rate(pool, chunk):
    begun = time.monotonic()
    pool.map(square, range(count), chunk)
    return count / (time.monotonic() - begun)


with FORK.Pool(workers) as pool:
    rate(pool, 64)
    answer(one_by_one_per_s=rate(pool, 1), batched_per_s=rate(pool, 64))

# cpu.py - sums of squares: calls that need a CPU all the time.
import asyncio

way, jobs, n = param("way", "sequential"), param("jobs", 8), param("n", 200000)


def sumsq(n):
    total = 0
    for i in range(n):
        total += i * i
    return total


async def gather():
    async def one():
        return sumsq(n)

    return await asyncio.gather(*(one() for _ in range(jobs)))


workers = param("workers", 2)
if way == "asyncio":
    seconds, cpu, results = run_asyncio(gather())
else:
    seconds, cpu, results = run_way(way, workers, lambda pool: pool.map(sumsq, [n] * jobs, 1))
answer(seconds=seconds, cpu_seconds=cpu, total=sum(results))

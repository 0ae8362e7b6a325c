# io.py - sleeps: calls that wait.
import asyncio

way, jobs, pause = param("way", "sequential"), param("jobs", 200), param("ms", 10) / 1000


async def gather():
    await asyncio.gather(*(asyncio.sleep(pause) for _ in range(jobs)))


workers = param("workers", 2)
if way == "asyncio":
    seconds, cpu, _ = run_asyncio(gather())
else:
    seconds, cpu, _ = run_way(way, workers, lambda pool: pool.map(time.sleep, [pause] * jobs, 1))
answer(seconds=seconds, cpu_seconds=cpu)

# exec.py - commands that do nothing, as many at once as workers: /bin/true.
import asyncio
import subprocess

way, count, workers = param("way", "threadpool"), param("count", 200), param("workers", 2)


def run_true(_):
    return subprocess.run(["/bin/true"], check=True).returncode


async def commands():
    gate = asyncio.Semaphore(workers)

    async def command():
        async with gate:
            process = await asyncio.create_subprocess_exec("/bin/true")
            if await process.wait() != 0:
                sys.exit("/bin/true failed")

    await asyncio.gather(*(command() for _ in range(count)))


if way == "asyncio":
    seconds, cpu, _ = run_asyncio(commands())
else:
    seconds, cpu, _ = run_way(way, workers, lambda pool: pool.many(run_true, range(count)))
answer(seconds=seconds, rate_per_s=count / seconds)

# queue.py - multiprocessing's queues: rate, round trip, what a bound does, a killed consumer.
import queue as exceptions

mode = param("mode", "rate")
kind = param("kind", "Queue")


def make(maxsize=0):
    return getattr(FORK, kind)(maxsize) if maxsize else getattr(FORK, kind)()


def produce(q, count, payload):
    for _ in range(count):
        q.put(payload)
    if kind != "SimpleQueue":  # it has no thread that feeds
        q.close()
        q.join_thread()


def consume(q, count):
    done = getattr(q, "task_done", None)
    for _ in range(count):
        q.get()
        if done:
            done()


def rate():
    producers, consumers = param("producers", 1), param("consumers", 1)
    size, messages = param("bytes", 64), param("messages", 20000)
    messages -= messages % (producers * consumers)
    q = make(param("maxsize", 0))
    party = Party()
    for _ in range(producers):
        party.add(produce, q, messages // producers, bytes(size))
    for _ in range(consumers):
        party.add(consume, q, messages // consumers)
    seconds, cpu, _ = party.run()
    answer(seconds=seconds, rate_per_s=messages / seconds, messages=messages, bytes=size,
           cpu_seconds=cpu)


def echo(there, back, count):
    for _ in range(count):
        back.put(there.get())


def roundtrip():
    size, messages = param("bytes", 64), param("messages", 2000)
    there, back, payload, warm = make(), make(), bytes(size), 100
    process = FORK.Process(target=echo, args=(there, back, warm + messages))
    process.start()
    times = []
    for i in range(warm + messages):
        begun = time.monotonic()
        there.put(payload)
        back.get()
        if i >= warm:
            times.append(time.monotonic() - begun)
    process.join()
    answer(seconds=sum(times), rate_per_s=messages / sum(times), messages=messages, bytes=size,
           **percentiles(times))


def full():
    maxsize, wait = param("maxsize", 10), param("wait_ms", 200) / 1000
    q = make(maxsize)
    accepted, begun = 0, time.monotonic()
    try:
        while accepted <= maxsize:
            begun = time.monotonic()
            q.put(bytes(64), timeout=wait)
            accepted += 1
    except exceptions.Full:
        pass
    waited = time.monotonic() - begun
    q.cancel_join_thread()
    answer(accepted=accepted, full=accepted == maxsize, maxsize=maxsize, waited_s=waited)


def killed():
    wait = param("wait_ms", 1000) / 1000
    q, got = make(), FORK.Event()

    def take():
        q.get()
        got.set()

    first = FORK.Process(target=q.get)
    first.start()
    while q._rlock.acquire(block=False):  # free: it does not wait in get() yet
        q._rlock.release()
        time.sleep(0.001)
    kill(first)
    q.put(b"for whoever is left")
    begun = time.monotonic()
    second = FORK.Process(target=take)
    second.start()
    got.wait(wait)
    waited = time.monotonic() - begun
    wedged = not got.is_set()
    kill(second)
    if kind != "SimpleQueue":
        q.cancel_join_thread()
    answer(wedged=wedged, waited_s=waited)


{"rate": rate, "roundtrip": roundtrip, "full": full, "killed": killed}[mode]()

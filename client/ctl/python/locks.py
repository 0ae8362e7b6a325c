# locks.py - multiprocessing's locks: an owner that is killed, and the price with nobody else.
mode, kind = param("mode", "killed"), param("kind", "Lock")
lock = getattr(FORK, kind)()


def hold(taken):
    lock.acquire()
    taken.set()
    time.sleep(60)


def take(wait):
    begun = time.monotonic()
    acquired = lock.acquire(timeout=wait)
    return acquired, time.monotonic() - begun


def killed():
    taken = FORK.Event()
    owner = FORK.Process(target=hold, args=(taken,))
    owner.start()
    taken.wait()
    kill(owner)
    party = Party()
    party.add(take, param("wait_ms", 1000) / 1000)
    _, _, ((acquired, waited),) = party.run()
    answer(acquired=acquired, waited_s=waited)


def free():
    rounds, batch = param("rounds", 100000), 1000
    times = []
    for _ in range(max(1, rounds // batch)):
        begun = time.monotonic()
        for _ in range(batch):
            lock.acquire()
            lock.release()
        times.append((time.monotonic() - begun) / batch)
    answer(p50_ns=percentiles(times)["p50_ns"])


{"killed": killed, "free": free}[mode]()

# manager.py - Manager().Value, added to by several processes, with a Manager().Lock.
#
# An add with the lock is four requests: acquire, get, set, release.
mode = param("mode", "add")


def add(value, lock, adds):
    for _ in range(adds):
        if lock:
            with lock:
                value.value += 1
        else:
            value.value += 1


def add_up(manager):
    adds, processes = param("adds", 1000), param("processes", 1)
    value = manager.Value("q", 0)
    lock = manager.Lock() if param("lock", 1) else None
    party = Party(prepare=lambda: value.value)  # connects; the lock's connection is made later
    for _ in range(processes):
        party.add(add, value, lock, adds)
    before = cpu_of(manager._process.pid)
    seconds, cpu, _ = party.run()
    cpu += cpu_of(manager._process.pid) - before
    expected = adds * processes
    answer(expected=expected, value=value.value, exact=value.value == expected, seconds=seconds,
           rate_per_s=expected / seconds, cpu_seconds=cpu)


def get(manager):
    rounds, warm = param("rounds", 2000), 100
    value = manager.Value("q", 0)
    times = []
    for i in range(warm + rounds):
        begun = time.monotonic()
        value.value
        if i >= warm:
            times.append(time.monotonic() - begun)
    answer(seconds=sum(times), rate_per_s=rounds / sum(times), **percentiles(times))


with FORK.Manager() as manager:
    {"add": add_up, "get": get}[mode](manager)

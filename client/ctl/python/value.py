# value.py - multiprocessing.Value, with its lock and without: updates that get lost.
adds, processes = param("adds", 100000), param("processes", 2)


def add(value):
    for _ in range(adds):
        value.value += 1


def add_locked(value):
    for _ in range(adds):
        with value.get_lock():
            value.value += 1


def count_with(f, value):
    party = Party()
    for _ in range(processes):
        party.add(f, value)
    seconds, cpu, _ = party.run()
    return value.value, seconds, cpu


expected = adds * processes
without, seconds, _ = count_with(add, FORK.Value("q", 0, lock=False))
locked, locked_seconds, cpu = count_with(add_locked, FORK.Value("q", 0))
answer(expected=expected, without_lock=without, with_lock=locked, lost=expected - without,
       seconds=seconds, locked_seconds=locked_seconds, rate_per_s=expected / locked_seconds,
       cpu_seconds=cpu)

# shm.py - multiprocessing.shared_memory: its price, others' segments, updates without a lock.
import array
import statistics
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

mode = param("mode", "work")
try:
    import numpy
except ImportError:
    numpy = None
serial = 0


def create(size):
    global serial
    serial += 1
    return SharedMemory(name=f"{PREFIX}{serial}", create=True, size=size)


def attach_to_others(name, tracked):
    """Before 3.13 whoever attaches is taken for the owner, and unlinks the name at its end."""
    if sys.version_info >= (3, 13):
        return SharedMemory(name=name, track=tracked)
    memory = SharedMemory(name=name)
    if not tracked:
        resource_tracker.unregister(memory._name, "shared_memory")
    return memory


def time_attach(name, rounds, touch):
    """In another process: open, map, read one byte, or with touch one of each page.  The tracker is the creator's own."""
    times = []
    for _ in range(rounds):
        begun = time.monotonic()
        memory = SharedMemory(name=name)
        memory.buf[0]
        if touch:
            memory.buf[::4096].tobytes()
        times.append(time.monotonic() - begun)
        memory.close()
    return times


def fill_and_sum(memory, elements):
    """Seconds of each and the sum; with numpy if it is there, else as the library can."""
    if numpy:
        view = numpy.ndarray((elements,), dtype="f8", buffer=memory.buf)
        begun = time.monotonic()
        view.fill(2.5)
        filled = time.monotonic()
        total = float(view.sum())
    else:
        view = memory.buf[: elements * 8].cast("d")
        values = array.array("d", [2.5]) * elements
        begun = time.monotonic()
        view[:] = memoryview(values)
        filled = time.monotonic()
        total = sum(view)
        view.release()
    return filled - begun, time.monotonic() - filled, total


def work():
    size, rounds = param("bytes", 8 << 20), param("rounds", 20)
    times = []
    for _ in range(rounds):
        begun = time.monotonic()
        memory = create(size)
        times.append(time.monotonic() - begun)
        memory.close()
        memory.unlink()
    elements, whole = size // 8, []
    for _ in range(3):
        begun = time.monotonic()
        memory = create(size)
        fill_and_sum(memory, elements)
        whole.append(time.monotonic() - begun)
        memory.close()
        memory.unlink()
    memory = create(size)
    figures = [fill_and_sum(memory, elements) for _ in range(4)][1:]  # the first faults it in
    party = Party()
    party.add(time_attach, memory.name, rounds, param("touch", 0))
    _, _, (attached,) = party.run()
    memory.close()
    memory.unlink()
    answer(whole_seconds=statistics.median(whole), create_ns=percentiles(times)["p50_ns"], attach_ns=percentiles(attached)["p50_ns"],
           fill_seconds=statistics.median(row[0] for row in figures),
           sum_seconds=statistics.median(row[1] for row in figures), sum=figures[0][2], elements=elements,
           bytes=size, by="numpy" if numpy else "memoryview")


def attach_to():
    name, offset, value = param("name", ""), param("offset", 0), param("value", 7)
    memory = attach_to_others(name, param("tracked", 0) == 1)
    before = memory.buf[offset]
    memory.buf[offset] = value
    figures = {"size": memory.size, "before": before, "after": memory.buf[offset],
               "first": list(memory.buf[:8])}
    memory.close()
    answer(**figures)


def add(memory, adds):
    with memory.buf.cast("q") as words:
        for _ in range(adds):
            words[0] += 1


def add_locked(memory, adds, lock):
    with memory.buf.cast("q") as words:
        for _ in range(adds):
            with lock:
                words[0] += 1


def count_with(f, *args):
    adds, processes = param("adds", 200000), param("processes", 2)
    memory = create(4096)
    party = Party()
    for _ in range(processes):
        party.add(f, memory, adds, *args)
    seconds, _, _ = party.run()
    with memory.buf.cast("q") as words:
        count = words[0]
    memory.close()
    memory.unlink()
    return count, seconds


def lost():
    expected = param("adds", 200000) * param("processes", 2)
    without, seconds = count_with(add)
    locked, locked_seconds = count_with(add_locked, FORK.Lock())
    answer(expected=expected, without_lock=without, with_lock=locked, lost=expected - without,
           seconds=seconds, locked_seconds=locked_seconds)


{"work": work, "attach": attach_to, "lost": lost}[mode]()

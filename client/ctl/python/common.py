# common.py - what stands before each topic's program: parameters, processes, the answer.
#
#   cat common.py ways.py queue.py | python3 -I - queue x- messages=1000
#
# The words are the topic, the prefix of all names in /dev/shm, and name=value.  The answer is
# one JSON object on stdout.  Whatever happens, no process and no name is left: children die
# with their parent, and names begin with the prefix, by which they are swept.
import json
import multiprocessing
import os
import signal
import sys
import time

FORK = multiprocessing.get_context("fork")
PREFIX = sys.argv[2]
given = dict(word.split("=", 1) for word in sys.argv[3:])
asked = set()

# A spawned child would look for this program in a file called <stdin>.
globals().pop("__file__", None)

# A semaphore has a name for an instant; this gives it one that can be swept.
multiprocessing.current_process()._config["semprefix"] = "/" + PREFIX + "s"


def die_with_parent():
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (ImportError, AttributeError, OSError):
        pass  # then the keeper alone sees to it


os.register_at_fork(after_in_child=die_with_parent)


def param(name, default):
    """The parameter of that name, of the default's type."""
    asked.add(name)
    return type(default)(given.get(name, default))


def answer(**figures):
    unknown = set(given) - asked
    if unknown:
        sys.exit(f"there is no parameter {', '.join(sorted(unknown))}")
    print(json.dumps(figures))


def percentiles(times):
    """Of seconds: p50 and p99 in ns, by nearest rank."""
    times = sorted(times)

    def rank(percent):
        return round(times[max(0, -(-len(times) * percent // 100) - 1)] * 1e9)

    return {"p50_ns": rank(50), "p99_ns": rank(99)}


def cpu_of(pid):
    """CPU seconds of all threads a process ever had: its clock, as clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


class Stopwatch:
    """Wall and CPU time of this process.  time.monotonic() is one clock for all processes."""

    def __enter__(self):
        self.cpu = time.process_time()
        self.begun = time.monotonic()
        return self

    def __exit__(self, *_):
        self.ended = time.monotonic()
        self.cpu = time.process_time() - self.cpu


class Party:
    """Processes that begin together, each running f(*args) under a stopwatch.  Before that
    each does prepare()."""

    def __init__(self, prepare=None):
        self.todo = []
        self.prepare = prepare

    def add(self, f, *args):
        self.todo.append((f, args))

    def member(self, barrier, results, f, args):
        if self.prepare:
            self.prepare()
        barrier.wait()
        with Stopwatch() as watch:
            value = f(*args)
        results.put((watch.begun, watch.ended, watch.cpu, value))

    def run(self):
        """Seconds from the first's beginning to the last's end, CPU seconds, the values."""
        barrier = FORK.Barrier(len(self.todo))
        results = FORK.SimpleQueue()
        processes = [FORK.Process(target=self.member, args=(barrier, results, f, args))
                     for f, args in self.todo]
        for process in processes:
            process.start()
        rows = [results.get() for _ in processes]
        for process in processes:
            process.join()
        seconds = max(row[1] for row in rows) - min(row[0] for row in rows)
        return seconds, sum(row[2] for row in rows), [row[3] for row in rows]


def kill(process):
    """kill -9, as an accident would."""
    os.kill(process.pid, signal.SIGKILL)
    process.join()



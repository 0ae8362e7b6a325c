# pipe.py - multiprocessing.Pipe: round trip, one way, a sum asked for, and its end.
import threading

mode = param("mode", "roundtrip")


def pin(index, cpus):
    """Side `index` of two: on a CPU of its own, on the other's, or (0) wherever."""
    if cpus:
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[index % cpus % len(allowed)]})


def verbs(connection, how):
    if how == "object":
        return connection.send, connection.recv
    return connection.send_bytes, connection.recv_bytes


def echo(connection, how, count, cpus):
    pin(1, cpus)
    send, recv = verbs(connection, how)
    for _ in range(count):
        send(recv())


def roundtrip():
    size, messages, how = param("bytes", 64), param("messages", 5000), param("how", "bytes")
    cpus = param("cpus", 0)
    ours, theirs = FORK.Pipe()
    warm, payload, times = min(200, messages), bytes(size), []
    process = FORK.Process(target=echo, args=(theirs, how, warm + messages, cpus))
    process.start()
    pin(0, cpus)
    theirs.close()
    send, recv = verbs(ours, how)
    for i in range(warm + messages):
        begun = time.monotonic()
        send(payload)
        recv()
        if i >= warm:
            times.append(time.monotonic() - begun)
    process.join()
    answer(seconds=sum(times), rate_per_s=messages / sum(times), messages=messages, bytes=size,
           **percentiles(times))


def write(connection, how, count, payload):
    send, _ = verbs(connection, how)
    for _ in range(count):
        send(payload)


def read(connection, how, count):
    _, recv = verbs(connection, how)
    for _ in range(count):
        recv()


def rate():
    size, messages, how = param("bytes", 64), param("messages", 20000), param("how", "bytes")
    ours, theirs = FORK.Pipe()
    party = Party()
    party.add(write, ours, how, messages, bytes(size))
    party.add(read, theirs, how, messages)
    seconds, cpu, _ = party.run()
    answer(seconds=seconds, rate_per_s=messages / seconds, messages=messages, bytes=size,
           cpu_seconds=cpu)


def add_up(connection, count):
    for _ in range(count):
        numbers = memoryview(connection.recv_bytes()).cast("Q")
        connection.send(sum(numbers))


def asked_sum():
    """Numbers are sent, their sum comes back."""
    size, messages, warm = param("bytes", 8 << 20), param("messages", 10), 1
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=add_up, args=(theirs, warm + messages))
    process.start()
    theirs.close()
    payload, times = bytes(size - size % 8), []
    for i in range(warm + messages):
        begun = time.monotonic()
        ours.send_bytes(payload)
        ours.recv()
        if i >= warm:
            times.append(time.monotonic() - begun)
    process.join()
    answer(seconds=sum(times), rate_per_s=messages / sum(times), messages=messages, bytes=size,
           **percentiles(times))


def eof():
    """A thread kills the other side while we wait."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=time.sleep, args=(60,))
    process.start()
    theirs.close()
    killed = []

    def kill_later():
        time.sleep(0.05)
        killed.append(time.monotonic())
        os.kill(process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_later)
    killer.start()
    try:
        ours.recv()
        ended = False
    except EOFError:
        ended = True
    at = time.monotonic()
    killer.join()
    process.join()
    answer(eof=ended, waited_s=at - killed[0])


{"roundtrip": roundtrip, "rate": rate, "sum": asked_sum, "eof": eof}[mode]()

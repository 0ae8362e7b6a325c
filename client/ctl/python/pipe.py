# pipe.py - multiprocessing.Pipe: round trip, one way, and its end.
mode = param("mode", "roundtrip")


def verbs(connection, how):
    if how == "object":
        return connection.send, connection.recv
    return connection.send_bytes, connection.recv_bytes


def echo(connection, how, count):
    send, recv = verbs(connection, how)
    for _ in range(count):
        send(recv())


def roundtrip():
    size, messages, how = param("bytes", 64), param("messages", 5000), param("how", "bytes")
    ours, theirs = FORK.Pipe()
    warm, payload, times = 200, bytes(size), []
    process = FORK.Process(target=echo, args=(theirs, how, warm + messages))
    process.start()
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


def eof():
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=time.sleep, args=(60,))
    process.start()
    theirs.close()
    begun = time.monotonic()
    kill(process)
    # The other side was forked with our own end open, too; with it dead nobody has that.
    try:
        ours.recv()
        ended = False
    except EOFError:
        ended = True
    answer(eof=ended, waited_s=time.monotonic() - begun)


{"roundtrip": roundtrip, "rate": rate, "eof": eof}[mode]()

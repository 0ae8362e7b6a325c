# start.py - what a Process costs that does nothing: start() and join().
#
# Only something importable can be the target where the child is a new interpreter.
method, rounds = param("method", "fork"), param("rounds", 20)
context = multiprocessing.get_context(method)
times = []
for i in range(rounds + 2):
    begun = time.monotonic()
    process = context.Process(target=os.getpid)
    process.start()
    process.join()
    if process.exitcode != 0:
        sys.exit(f"a child ended with {process.exitcode}")
    if i >= 2:  # warm
        times.append(time.monotonic() - begun)
answer(seconds=sum(times), rate_per_s=rounds / sum(times), **percentiles(times))

/*
 * kill_manager.c - kill_manager ADDS KILLS SEED: eight processes add to the counters of a real
 * daemon by both ways.
 *
 *   1. ADDS adds, nobody is killed: exact.
 *   2. KILLS random kills, of the manager and of clients.  What each client was told to be done
 *      (its notes, in shared memory) against the counters:
 *        a client killed between its add and its note leaves a counter one too high;
 *        a manager killed in an add, while others add to that counter by the atomic way, may
 *        leave it one too low; a counter that only the manager changes stays exact.
 *   3. The control arm: proxies that forget their session when they greet a new manager.  What
 *      was in flight is added twice; if it is not, this test proves nothing.
 *
 * Exit status 0 when all that held.  SEED "" or left out: a new one, printed.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/manager.h"
#include "ipc/clock.h"
#include "tests/helpers.h"

#define PATIENCE_MS   60000
#define CONTROL_KILLS 4 /* each greeting is a session more; a process has 16 at the most */

/* How a client adds; to "mixed" all of them, to "manager" the last two also. */
enum way { ATOMIC, ONE_AT_A_TIME, PIPELINED };

static const enum way ways[] = { ATOMIC,    ATOMIC,        ATOMIC,        ATOMIC,
				 PIPELINED, ONE_AT_A_TIME, ONE_AT_A_TIME, PIPELINED };
#define CLIENTS (sizeof(ways) / sizeof(ways[0]))

enum { MIXED, MANAGER_ONLY, COUNTERS };
static const char *const names[COUNTERS] = { "mixed", "manager" };

struct note {
	_Alignas(64) _Atomic int64_t done[COUNTERS]; /* adds this client was told to be done */
	_Atomic int64_t errors;
	_Atomic bool ended;
};

static struct shared {
	struct note notes[CLIENTS];
	_Atomic bool stop;
	bool forgetful;
	int64_t adds; /* of each client; INT64_MAX: until stop */
} * shared;

static struct test_daemon d;
static pid_t pids[CLIENTS];

/* ---- clients ---- */

static bool
goes_on(int64_t n)
{
	return n < shared->adds && !atomic_load(&shared->stop);
}

static int
add_atomically(struct note *note)
{
	struct pyprep_counters *c;
	struct pyprep_counter counter;
	struct pyprep *p;

	if (pyprep_connect(d.runtime, &p, NULL) < 0 || pyprep_counters_attach(p, &c, NULL) < 0 ||
	    pyprep_counter_open(c, names[MIXED], 1, &counter, NULL) < 0)
		return 1;
	for (int64_t n = 0; goes_on(n); n++) {
		if (pyprep_counter_add(&counter, 1, NULL) < 0)
			return 2;
		atomic_fetch_add(&note->done[MIXED], 1);
	}
	return 0;
}

static int
add_one_by_one(struct note *note, struct pyprep_manager *m)
{
	for (int64_t n = 0; goes_on(n); n++) {
		if (pyprep_manager_add(m, names[n % COUNTERS], 1, NULL, NULL) < 0)
			return 3;
		atomic_fetch_add(&note->done[n % COUNTERS], 1);
	}
	return 0;
}

static int
collect(struct note *note, struct pyprep_manager *m, int64_t *outstanding)
{
	struct pyprep_answer answer;

	if (pyprep_manager_next(m, -1, &answer, NULL) != 1)
		return 4;
	(*outstanding)--;
	if (answer.result == 0)
		atomic_fetch_add(&note->done[(uintptr_t)answer.user], 1);
	else
		atomic_fetch_add(&note->errors, 1);
	return 0;
}

static int
add_pipelined(struct note *note, struct pyprep_manager *m)
{
	int64_t outstanding = 0;

	for (int64_t n = 0; goes_on(n) || outstanding > 0;) {
		struct pyprep_ask ask = { .op = PYPREP_ADD,
					  .value = 1,
					  .name = names[n % COUNTERS],
					  .user = (void *)(uintptr_t)(n % COUNTERS) };
		if (goes_on(n) && pyprep_manager_submit(m, &ask, NULL) == 0) {
			n++;
			outstanding++;
		} else if (collect(note, m, &outstanding) != 0) {
			return 5;
		}
	}
	return 0;
}

static int
client(unsigned i)
{
	struct note *note = &shared->notes[i];
	struct pyprep_manager *m;

	if (ways[i] == ATOMIC)
		return add_atomically(note);
	if (pyprep_manager_connect(d.runtime, &m, NULL) < 0)
		return 6;
	m->forgetful = shared->forgetful;
	int r = ways[i] == PIPELINED ? add_pipelined(note, m) : add_one_by_one(note, m);
	pyprep_manager_close(m);
	return r;
}

static void
start(unsigned i)
{
	pids[i] = test_fork();
	if (pids[i] == 0)
		_exit(client(i));
}

/* All of them to their end; how many ended badly. */
static unsigned
finish(void)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < CLIENTS; i++) {
		int status = wait_exit(pids[i], 10 * PATIENCE_MS);
		if (status != 0)
			printf("client %u ended with %d\n", i, status);
		bad += status != 0;
	}
	return bad;
}

/* ---- the counters ---- */

static int64_t
noted(unsigned counter)
{
	int64_t sum = 0;

	for (unsigned i = 0; i < CLIENTS; i++)
		sum += atomic_load(&shared->notes[i].done[counter]);
	return sum;
}

/* What the counters are beyond what was noted. */
static void
compare(int64_t ret_beyond[COUNTERS])
{
	struct pyprep_manager *m;
	struct pyprep_problem why;

	if (pyprep_manager_connect(d.runtime, &m, &why) < 0) {
		printf("%s\n", why.message);
		exit(EXIT_FAILURE);
	}
	for (unsigned c = 0; c < COUNTERS; c++) {
		int64_t value = 0;
		(void)pyprep_manager_get(m, names[c], &value, NULL);
		ret_beyond[c] = value - noted(c);
	}
	pyprep_manager_close(m);
}

static void
begin(int64_t adds, bool forgetful)
{
	memset(shared, 0, sizeof(*shared));
	shared->adds = adds;
	shared->forgetful = forgetful;
	daemon_begin(&d, "[pool \"cpu\"]\nexecutor = process\nworkers = 1\n");
	for (unsigned i = 0; i < CLIENTS; i++)
		start(i);
}

/* ---- kills ---- */

/* The manager's pid, or 0. */
static pid_t
manager(void)
{
	pid_t children[64];
	char title[64];
	int n = list_children(d.pid, children, 64);

	for (int i = 0; i < n; i++)
		if (process_title(children[i], title, sizeof(title)) &&
		    strncmp(title, "pyprepd: manager", 16) == 0)
			return children[i];
	return 0;
}

static int64_t
answered(void)
{
	int64_t sum = 0;

	for (unsigned i = 0; i < CLIENTS; i++)
		if (ways[i] != ATOMIC)
			sum += atomic_load(&shared->notes[i].done[MIXED]) +
			       atomic_load(&shared->notes[i].done[MANAGER_ONLY]);
	return sum;
}

/* Kill it, and wait until a new one has answered: us until then; 0: never. */
static uint64_t
kill_manager(void)
{
	pid_t old = manager(), now = 0;
	uint64_t start_ns = clock_now();

	if (old == 0 || kill(old, SIGKILL) < 0)
		return 0;
	if (!wait_until(PATIENCE_MS, (now = manager()) != 0 && now != old))
		return 0;
	int64_t before = answered();
	if (!wait_until(PATIENCE_MS, answered() > before + MANAGER_WINDOW * 2))
		return 0;
	return (clock_now() - start_ns) / NS_PER_US;
}

struct kills {
	unsigned managers, clients;
	uint64_t longest_us, total_us;
};

static bool
kill_some(unsigned count, unsigned *seed, bool clients_too, struct kills *ret)
{
	for (unsigned n = 0; n < count; n++) {
		unsigned i = 0;
		usleep((unsigned)rand_r(seed) % 20000);
		if (clients_too && rand_r(seed) % 2 == 0) {
			do
				i = (unsigned)rand_r(seed) % CLIENTS;
			while (ways[i] == PIPELINED);
			if (kill_and_wait(pids[i], SIGKILL) != SIGKILL) {
				printf("client %u had ended by itself\n", i);
				return false;
			}
			ret->clients++;
			start(i);
			continue;
		}
		uint64_t us = kill_manager();
		if (us == 0) {
			printf("the manager did not come back\n");
			return false;
		}
		ret->managers++;
		ret->total_us += us;
		if (us > ret->longest_us)
			ret->longest_us = us;
	}
	return true;
}

/* ---- the three parts ---- */

static bool
without_kills(int64_t adds)
{
	int64_t beyond[COUNTERS];

	begin(adds / (int64_t)CLIENTS, false);
	bool good = finish() == 0;
	compare(beyond);
	int64_t sum = noted(MIXED) + noted(MANAGER_ONLY);
	daemon_end(&d);
	printf("no kills: %jd adds; mixed off by %jd, manager's off by %jd\n", (intmax_t)sum,
	       (intmax_t)beyond[MIXED], (intmax_t)beyond[MANAGER_ONLY]);
	return good && beyond[MIXED] == 0 && beyond[MANAGER_ONLY] == 0 &&
	       sum == adds / (int64_t)CLIENTS * (int64_t)CLIENTS;
}

static bool
with_kills(unsigned count, unsigned *seed)
{
	int64_t beyond[COUNTERS], errors = 0;
	struct kills k = { 0 };

	begin(INT64_MAX, false);
	bool good = kill_some(count, seed, true, &k);
	atomic_store(&shared->stop, true);
	good &= finish() == 0;
	compare(beyond);
	for (unsigned i = 0; i < CLIENTS; i++)
		errors += atomic_load(&shared->notes[i].errors);
	daemon_end(&d);
	printf("%u managers and %u clients killed: %jd adds; mixed off by %+jd, manager's off by "
	       "%+jd; errors seen %jd; killed to answering again: mean %ju us, most %ju us\n",
	       k.managers, k.clients, (intmax_t)(noted(MIXED) + noted(MANAGER_ONLY)),
	       (intmax_t)beyond[MIXED], (intmax_t)beyond[MANAGER_ONLY], (intmax_t)errors,
	       (uintmax_t)(k.managers > 0 ? k.total_us / k.managers : 0), (uintmax_t)k.longest_us);
	/* Too high: a client's note is missing.  Too low: only where both ways met a kill. */
	return good && errors <= k.managers && beyond[MIXED] >= -(int64_t)k.managers &&
	       beyond[MIXED] <= k.clients && beyond[MANAGER_ONLY] >= 0 &&
	       beyond[MANAGER_ONLY] <= k.clients;
}

static bool
control(unsigned count, unsigned *seed)
{
	int64_t beyond[COUNTERS];
	struct kills k = { 0 };

	begin(INT64_MAX, true);
	bool good = kill_some(count, seed, false, &k);
	atomic_store(&shared->stop, true);
	good &= finish() == 0;
	compare(beyond);
	daemon_end(&d);
	printf("control, without sessions: %u managers killed; mixed off by %+jd, manager's off by "
	       "%+jd: %s\n",
	       k.managers, (intmax_t)beyond[MIXED], (intmax_t)beyond[MANAGER_ONLY],
	       beyond[MANAGER_ONLY] > 0 ? "doubled, as it must" : "NOT DOUBLED");
	return good && beyond[MANAGER_ONLY] > 0;
}

int
main(int argc, char **argv)
{
	int64_t adds = argc > 1 ? strtoll(argv[1], NULL, 10) : 10000000;
	unsigned kills = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1000;
	unsigned seed = argc > 3 && argv[3][0] != '\0' ? (unsigned)strtoul(argv[3], NULL, 10)
						       : (unsigned)time(NULL);

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("kill_manager %jd %u %u\n", (intmax_t)adds, kills, seed);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return EXIT_FAILURE;
	bool good = without_kills(adds);
	good &= with_kills(kills, &seed);
	good &= control(CONTROL_KILLS, &seed);
	printf(good ? "1 passed\n" : "FAILED\n");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

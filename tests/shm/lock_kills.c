/* lock_kills.c - see lock_kills.h */
#include "tests/shm/lock_kills.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/barrier.h"
#include "shm/lock.h"
#include "shm/owner.h"
#include "shm/semaphore.h"
#include "tests/process.h"

#define WORKERS   3u
#define PERMITS   2u
#define KILLS_MAX 100000u /* when what must be seen never is */

/* What all of them share. */
struct arena {
	_Atomic uint64_t operations, deaths_seen, wrong;
	struct lock lock;
	pthread_mutex_t plain_lock;
	volatile uint64_t left, right; /* equal unless their writer died between */
	sem_t plain_semaphore;
	_Atomic uint64_t inside[PERMITS]; /* who is, by permit */
	pthread_barrier_t plain_barrier;
	_Atomic uint64_t clock, stamps[WORKERS]; /* when each last came to the barrier */
	_Alignas(64) unsigned char semaphore[4096];
	_Alignas(64) unsigned char barrier[4096];
};

static struct semaphore *
semaphore_in(struct arena *a)
{
	return (struct semaphore *)a->semaphore;
}

static struct barrier *
barrier_in(struct arena *a)
{
	return (struct barrier *)a->barrier;
}

void *
shared_memory(size_t bytes)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return base == MAP_FAILED ? NULL : base;
}

static unsigned my_slot; /* of WORKERS */

/* ---- workers: for ever; a value other than what may come is counted as wrong ---- */

static void
guarded_step(struct arena *a)
{
	if (a->left != a->right)
		atomic_fetch_add(&a->wrong, 1);
	a->left++;
	for (int i = 0; i < 20; i++) /* a kill finds the two unequal */
		atomic_signal_fence(memory_order_seq_cst);
	a->right++;
	atomic_fetch_add_explicit(&a->operations, 1, memory_order_relaxed);
}

static void
use_lock(struct arena *a)
{
	int r = lock_take(&a->lock, -1);

	if (r == -EOWNERDEAD) {
		a->right = a->left; /* put right */
		atomic_fetch_add(&a->deaths_seen, 1);
		lock_repaired(&a->lock);
	} else if (r != 0) {
		atomic_fetch_add(&a->wrong, 1);
		return;
	}
	guarded_step(a);
	lock_release(&a->lock);
}

static void
use_plain_lock(struct arena *a)
{
	pthread_mutex_lock(&a->plain_lock);
	a->right = a->left;
	guarded_step(a);
	pthread_mutex_unlock(&a->plain_lock);
}

static void
use_semaphore(struct arena *a)
{
	uint32_t permit;

	if (semaphore_take(semaphore_in(a), -1, &permit) != 0) {
		atomic_fetch_add(&a->wrong, 1);
		return;
	}
	uint64_t before = atomic_exchange(&a->inside[permit], owner_self());
	if (before != OWNER_NOBODY) {
		atomic_fetch_add(owner_alive(before) ? &a->wrong : &a->deaths_seen, 1);
	}
	atomic_store(&a->inside[permit], OWNER_NOBODY);
	atomic_fetch_add(&a->operations, 1);
	semaphore_give(semaphore_in(a), permit);
}

static void
use_plain_semaphore(struct arena *a)
{
	sem_wait(&a->plain_semaphore);
	atomic_fetch_add(&a->operations, 1);
	sem_post(&a->plain_semaphore);
}

/* Do something else for a while, now and then: who dies in a barrier meanwhile is dead before all
 * have come. */
static void
linger(void)
{
	static unsigned seed;

	if (seed == 0)
		seed = (unsigned)getpid();
	if (rand_r(&seed) % 8 != 0)
		return;
	struct timespec t = { .tv_nsec = rand_r(&seed) % 200000 };
	nanosleep(&t, NULL);
}

static uint32_t
join_barrier(struct arena *a)
{
	uint32_t seat;
	int r;

	while ((r = barrier_join(barrier_in(a), &seat)) != 0) {
		if (r == -EOWNERDEAD)
			atomic_fetch_add(&a->deaths_seen, 1);
		barrier_mend(barrier_in(a));
		sched_yield();
	}
	return seat;
}

static void
use_barrier(struct arena *a)
{
	static uint32_t seat;
	static uint64_t last;
	static bool joined;

	if (!joined) {
		seat = join_barrier(a);
		joined = true;
	}
	linger();
	uint64_t mine = atomic_fetch_add(&a->clock, 1) + 1;
	atomic_store(&a->stamps[seat], mine);
	int r = barrier_wait(barrier_in(a), seat, -1);
	/* All have come since I came to the round before: nobody passes alone. */
	for (uint32_t i = 0; i < WORKERS && r == 0; i++)
		if (atomic_load(&a->stamps[i]) <= last)
			atomic_fetch_add(&a->wrong, 1);
	last = mine;
	if (r == 0) {
		atomic_fetch_add(&a->operations, 1);
		return;
	}
	if (r != -EOWNERDEAD && r != -ECANCELED)
		atomic_fetch_add(&a->wrong, 1);
	if (r == -EOWNERDEAD)
		atomic_fetch_add(&a->deaths_seen, 1);
	barrier_mend(barrier_in(a));
}

static void
use_plain_barrier(struct arena *a)
{
	static uint64_t last;

	linger();
	uint64_t mine = atomic_fetch_add(&a->clock, 1) + 1;
	atomic_store(&a->stamps[my_slot], mine);
	pthread_barrier_wait(&a->plain_barrier);
	for (uint32_t i = 0; i < WORKERS; i++)
		if (atomic_load(&a->stamps[i]) <= last)
			atomic_fetch_add(&a->wrong, 1);
	last = mine;
	atomic_fetch_add(&a->operations, 1);
}

typedef void (*use)(struct arena *a);

static use
use_of(enum locks_kind kind, bool robust)
{
	static const use table[][2] = { [LOCKS_LOCK] = { use_plain_lock, use_lock },
					[LOCKS_SEMAPHORE] = { use_plain_semaphore, use_semaphore },
					[LOCKS_BARRIER] = { use_plain_barrier, use_barrier } };
	return table[kind][robust];
}

static struct arena *
make_arena(void)
{
	struct arena *a = shared_memory(sizeof(*a));
	pthread_mutexattr_t how;
	pthread_barrierattr_t barrier_how;

	if (a == NULL || lock_init(&a->lock) < 0 ||
	    semaphore_bytes(PERMITS) > sizeof(a->semaphore) ||
	    semaphore_init(semaphore_in(a), PERMITS) < 0 ||
	    barrier_bytes(WORKERS) > sizeof(a->barrier) || barrier_init(barrier_in(a), WORKERS) < 0)
		abort();
	pthread_mutexattr_init(&how);
	pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&a->plain_lock, &how);
	sem_init(&a->plain_semaphore, 1, PERMITS);
	pthread_barrierattr_init(&barrier_how);
	pthread_barrierattr_setpshared(&barrier_how, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&a->plain_barrier, &barrier_how, WORKERS);
	return a;
}

static pid_t
start_worker(struct arena *a, unsigned slot, use use)
{
	my_slot = slot;
	pid_t pid = test_fork();
	if (pid == 0)
		for (;;)
			use(a);
	return pid;
}

static void
spin_ns(uint64_t ns)
{
	struct timespec began, now;

	clock_gettime(CLOCK_MONOTONIC, &began);
	do {
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((uint64_t)(now.tv_sec - began.tv_sec) * 1000000000u + (uint64_t)now.tv_nsec -
			 (uint64_t)began.tv_nsec <
		 ns);
}

/* Does anybody get on within `ms`? */
static bool
gets_on(struct arena *a, unsigned ms)
{
	uint64_t before = atomic_load(&a->operations);

	for (unsigned i = 0; i < 50; i++) {
		if (atomic_load(&a->operations) != before)
			return true;
		spin_ns(10000);
	}
	return wait_until(ms, atomic_load(&a->operations) != before);
}

static uint64_t
deaths_seen(struct arena *a, enum locks_kind kind)
{
	return kind == LOCKS_SEMAPHORE ? atomic_load(&semaphore_in(a)->recovered)
				       : atomic_load(&a->deaths_seen);
}

/* Has it come to what the kills are for?  Which of them hit is chance. */
static bool
is_shown(struct arena *a, enum locks_kind kind, bool robust, const struct lock_kills *k)
{
	return robust ? deaths_seen(a, kind) > 0 : k->stalled || atomic_load(&a->wrong) > 0;
}

void
kill_locks(enum locks_kind kind, bool robust, unsigned kills, unsigned seed, unsigned patience_ms,
	   struct lock_kills *ret)
{
	struct arena *a = make_arena();
	pid_t workers[WORKERS];

	*ret = (struct lock_kills){ 0 };
	for (unsigned i = 0; i < WORKERS; i++)
		workers[i] = start_worker(a, i, use_of(kind, robust));
	while (!ret->stalled && ret->kills < KILLS_MAX &&
	       (ret->kills < kills || !is_shown(a, kind, robust, ret))) {
		unsigned victim = (unsigned)rand_r(&seed) % WORKERS;
		spin_ns((uint64_t)rand_r(&seed) % 200000);
		kill_and_wait(workers[victim], SIGKILL);
		workers[victim] = start_worker(a, victim, use_of(kind, robust));
		ret->kills++;
		ret->stalled = !gets_on(a, patience_ms);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		kill_and_wait(workers[i], SIGKILL);
	uint32_t permit;
	for (unsigned i = 0; i < PERMITS && kind == LOCKS_SEMAPHORE && robust; i++)
		if (semaphore_take(semaphore_in(a), 0, &permit) != 0)
			atomic_fetch_add(&a->wrong, 1); /* one was lost */
	ret->operations = atomic_load(&a->operations);
	ret->deaths_seen = deaths_seen(a, kind);
	ret->wrong = atomic_load(&a->wrong);
	munmap(a, sizeof(*a));
}

/* ---- one instruction at a time ---- */

/* Stop for the tracer, right here. */
static inline void
stop_here(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ volatile("int3");
#else
	raise(SIGTRAP);
#endif
}

static int
steps_on(pid_t child, unsigned steps, _Atomic int *ended)
{
	int status;

	for (unsigned i = 0; i < steps; i++) {
		if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) < 0 ||
		    waitpid(child, &status, 0) != child)
			return -errno;
		if (!WIFSTOPPED(status))
			return -ECHILD; /* the operation failed */
		if (atomic_load(ended))
			return 1;
	}
	return 0;
}

int
step_and_kill(void (*warm)(void), void (*act)(void), unsigned steps)
{
	int status;
	_Atomic int *ended = shared_memory(sizeof(*ended));
	pid_t child = ended != NULL ? test_fork() : -1;

	if (child < 0)
		return -ENOMEM;
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(1);
		warm();
		stop_here();
		act();
		atomic_store(ended, 1);
		for (;;)
			pause();
	}
	int r = waitpid(child, &status, 0) == child && WIFSTOPPED(status) ? 0 : -EPERM;
	if (r == 0)
		r = steps_on(child, steps, ended);
	if (r != -EPERM && r != -ECHILD)
		kill_and_wait(child, SIGKILL);
	munmap((void *)ended, sizeof(*ended));
	return r;
}

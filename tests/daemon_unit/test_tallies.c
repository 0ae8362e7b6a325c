/*
 * test_tallies.c - what a day's jobs came to, counted by a broker that has a store and nothing
 * else: each job once, over restarts and kills, midnights and clocks that are set, full disks.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

#include "daemon/durable_load.h"
#include "daemon/tallies_cell.h"
#include "ipc/clock.h"
#include "ipc/wake.h"
#include "tests/files.h"

#define NOON    (20000ull * DAY_NS + DAY_NS / 2) /* of some day */
#define TODAY   20000u
#define PATIENT 20000u /* ms */

static struct broker broker, *b = &broker;
static struct durable durable;
static struct config config;
static struct wake wake;
static char state_dir[96];
static struct store_ops ops; /* sqlite, but for what a test puts in its way */
static int bell;

static void
open_broker(void)
{
	struct store_options options = { .state_dir = state_dir };
	struct store_problem why = { "" };

	memset(b, 0, sizeof(*b));
	memset(&durable, 0, sizeof(durable));
	config_default(&config);
	b->config = &config;
	b->durable = &durable;
	b->pool_count = config.pool_count;
	for (unsigned i = 0; i < b->pool_count; i++)
		b->pools[i].config = &config.pools[i];
	b->base = event_base_new();
	b->now_ns = clock_now();
	b->wall_offset_ns = NOON - b->now_ns;
	cr_assert_eq(writer_open(&durable.writer, &ops, &options, &wake, bell, &why), 0, "%s",
		     why.message);
	cr_assert_eq(tallies_open(b), 0);
}

/* Its process is gone: what it had not given to the store goes with it. */
static void
kill_broker(void)
{
	tallies_free(b);
	writer_close(durable.writer);
	event_base_free(b->base);
#if defined(__SANITIZE_ADDRESS__)
	__lsan_ignore_object(b->tallies); /* nor does it free anything */
#endif
}

static void
close_broker(void)
{
	tallies_close(b);
	kill_broker();
}

static void
setup(void)
{
	test_dir_make(state_dir, sizeof(state_dir));
	bell = bell_create();
	ops = store_sqlite;
	open_broker();
}

static void
teardown(void)
{
	test_dir_remove(state_dir);
	close(bell);
}

TestSuite(tallies, .init = setup, .fini = teardown, .timeout = 600);

/* ---- the broker's loop, as far as it matters ---- */

static void
turn(void)
{
	event_base_loop(b->base, EVLOOP_NONBLOCK);
	(void)writer_take(durable.writer, b);
}

static bool
is_read(void)
{
	const struct tally_day *d = b->tallies->days[0];
	return d != NULL && d->state == TALLY_READ;
}

static bool
is_written(void)
{
	struct writer_stats stats;

	writer_stats(durable.writer, &stats);
	return stats.waiting == 0;
}

static void
until(bool (*condition)(void), const char *what)
{
	for (unsigned ms = 0; ms < PATIENT; ms++) {
		turn();
		if (condition())
			return;
		usleep(1000);
	}
	cr_assert_fail("never: %s", what);
}

/* What the timer does. */
static void
write_now(void)
{
	until(is_read, "read back");
	for (unsigned i = 0; i < TALLY_DAYS; i++)
		if (b->tallies->days[i] != NULL)
			tallies_put_day(b, b->tallies->days[i]);
	until(is_written, "written");
}

/* ---- jobs ---- */

static void
end_at(uint64_t wall_ns, unsigned pool, unsigned kind, uint64_t run_ns)
{
	uint64_t now = wall_ns - b->wall_offset_ns;
	struct receipt r = { .submitted_ns = now - run_ns - 30,
			     .received_ns = now - run_ns - 20,
			     .handed_ns = now - run_ns - 10,
			     .returned_ns = now,
			     .ended_wall_ns = wall_ns,
			     .pool = (uint16_t)pool,
			     .kind = (uint16_t)kind,
			     .outcome = { .state = JOB_SUCCEEDED,
					  .method = USAGE_LIGHT,
					  .started_ns = now - run_ns,
					  .ended_ns = now } };
	b->now_ns = now;
	tallies_job(b, &r);
}

static void
end_jobs(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		end_at(NOON + i, 0, 1, 1000 + i);
}

struct sum {
	uint32_t day;
	uint64_t jobs, measured;
};

static int
add_cell(void *context, uint32_t day, unsigned pool, unsigned kind, const struct figures *f)
{
	struct sum *sum = context;

	(void)pool;
	(void)kind;
	if (sum->day == 0 || sum->day == day) {
		sum->jobs += f->jobs;
		sum->measured += f->stages[FIGURE_RUN].taken;
	}
	return 0;
}

/* Jobs that are in memory; of one day, 0: of all. */
static uint64_t
counted(uint32_t day)
{
	struct sum sum = { .day = day };

	tallies_each(b, add_cell, &sum);
	return sum.jobs;
}

static int
add_row(void *context, uint32_t day, const char *kind, const char *pool, const void *figures,
	size_t length)
{
	struct sum *sum = context;
	struct figures f = { 0 };

	(void)pool;
	if (kind[0] == '\0') /* the writer's trial */
		return 0;
	cr_assert_eq(figures_read(&f, figures, length), 0);
	if (sum->day == 0 || sum->day == day)
		sum->jobs += f.jobs;
	figures_free(&f);
	return 0;
}

/* Jobs that are in the store, when the broker is gone. */
static uint64_t
stored(uint32_t day)
{
	struct store_options options = { .state_dir = state_dir, .read_only = true };
	struct store_problem why = { "" };
	struct sum sum = { .day = day };
	struct store *s;

	cr_assert_eq(store_sqlite.open(&s, &options, &why), 0, "%s", why.message);
	cr_assert_eq(store_sqlite.tallies(s, 0, add_row, &sum), 0);
	store_sqlite.close(s);
	return sum.jobs;
}

/* ---- restarts ---- */

Test(tallies, a_broker_goes_on_where_the_last_one_ended)
{
	for (unsigned round = 1; round <= 5; round++) {
		until(is_read, "read back");
		end_jobs(100);
		cr_assert_eq(counted(TODAY), 100u * round);
		close_broker();
		cr_assert_eq(stored(TODAY), 100u * round);
		open_broker();
	}
	close_broker();
	cr_assert_eq(stored(TODAY), 500u);
}

/* Jobs end while the store is still being read: they are added to what comes, not lost. */
Test(tallies, what_is_counted_before_the_store_was_read_counts_too)
{
	until(is_read, "read back");
	end_jobs(100);
	close_broker();
	open_broker();
	end_jobs(7);
	until(is_read, "read back");
	cr_assert_eq(counted(TODAY), 107u);
	write_now();
	end_jobs(1);
	close_broker();
	cr_assert_eq(stored(TODAY), 108u);
}

/* The next one has less than the store: it must not write that over it. */
Test(tallies, nothing_is_written_of_a_day_that_was_not_read)
{
	until(is_read, "read back");
	end_jobs(100);
	close_broker();
	open_broker();
	end_jobs(7);
	cr_assert_neq(b->tallies->days[0]->state, TALLY_READ); /* nobody took the answer yet */
	tallies_put_day(b, b->tallies->days[0]);
	kill_broker();
	cr_assert_eq(stored(TODAY), 100u);
	/* The control arm: believed to be read, it would. */
	open_broker();
	end_jobs(7);
	b->tallies->days[0]->state = TALLY_READ;
	tallies_put_day(b, b->tallies->days[0]);
	kill_broker();
	cr_assert_eq(stored(TODAY), 7u);
}

Test(tallies, a_kill_costs_what_was_not_written_and_counts_nothing_twice)
{
	uint64_t written = 0;

	srand(7);
	for (unsigned round = 0; round < 16; round++) {
		until(is_read, "read back");
		cr_assert_eq(counted(TODAY), written);
		for (unsigned i = (unsigned)rand() % 4; i > 0; i--) {
			end_jobs((unsigned)rand() % 50);
			write_now();
			written = counted(TODAY);
		}
		end_jobs((unsigned)rand() % 50);
		kill_broker();
		cr_assert_eq(stored(TODAY), written);
		open_broker();
	}
	cr_assert_gt(written, 100u);
	kill_broker();
}

/* ---- days ---- */

Test(tallies, midnight_parts_the_days)
{
	uint64_t midnight = (TODAY + 1) * DAY_NS;

	until(is_read, "read back");
	end_at(midnight - 1, 0, 1, 10);
	end_at(midnight, 0, 1, 10);
	end_at(midnight + 1, 0, 1, 10);
	cr_assert_eq(counted(TODAY), 1u);
	cr_assert_eq(counted(TODAY + 1), 2u);
	until(is_read, "the new day read back");
	close_broker();
	cr_assert_eq(stored(TODAY), 1u);
	cr_assert_eq(stored(TODAY + 1), 2u);
}

/* Two days are in memory; the clock goes to and fro between five. */
Test(tallies, a_clock_that_is_set_loses_no_job)
{
	srand(11);
	uint64_t jobs[5] = { 0 };
	for (unsigned i = 0; i < 200; i++) {
		unsigned day = (unsigned)rand() % 5;
		end_at((TODAY + day) * DAY_NS + i, 0, 1, 10);
		jobs[day]++;
		until(is_read, "read back");
		if (i % 20 == 0)
			write_now();
	}
	close_broker();
	for (unsigned day = 0; day < 5; day++)
		cr_assert_eq(stored(TODAY + day), jobs[day], "day %u", day);
}

Test(tallies, no_day_before_the_first_is_in_memory)
{
	b->now_ns = NOON - b->wall_offset_ns;
	cr_assert_eq(tallies_first_day(b), TODAY);
	end_jobs(1);
	b->now_ns += 5 * DAY_NS; /* nothing ended since */
	cr_assert_eq(tallies_today(b), TODAY + 5);
	cr_assert_eq(tallies_first_day(b), TODAY);
	until(is_read, "read back");
	close_broker();
}

Test(tallies, memory_knows_which_cells_it_has)
{
	const char *pool = config.pools[1].name, *kind = kinds[2]->name;

	end_at(NOON, 1, 2, 10);
	cr_assert_not(tallies_has(b, TODAY, pool, kind), "not yet: the store may have more");
	until(is_read, "read back");
	cr_assert(tallies_has(b, TODAY, pool, kind));
	cr_assert_not(tallies_has(b, TODAY + 1, pool, kind));
	cr_assert_not(tallies_has(b, TODAY, config.pools[0].name, kind));
	cr_assert_not(tallies_has(b, TODAY, "nowhere", kind));
	cr_assert_not(tallies_has(b, TODAY, pool, "nothing"));
	close_broker();
}

Test(tallies, a_refused_submit_that_names_nothing_counts_nowhere)
{
	end_at(NOON, POOLS_MAX + 7, 1, 10);
	end_at(NOON, 0, UINT16_MAX, 10);
	end_at(NOON, b->pool_count, kind_count, 10);
	cr_assert_eq(counted(0), 0u);
	close_broker();
}

/* ---- a store that fails ---- */

static bool no_room, no_reading;

static int
apply_or_not(struct store *s, struct store_change *changes, size_t count)
{
	return no_room ? -ENOSPC : store_sqlite.apply(s, changes, count);
}

static int
read_or_not(struct store *s, uint32_t since_day, store_tally_fn each, void *context)
{
	return no_reading ? -EIO : store_sqlite.tallies(s, since_day, each, context);
}

static bool
is_full(void)
{
	return writer_state(durable.writer) == WRITER_FULL;
}

static bool
is_well(void)
{
	return writer_state(durable.writer) == WRITER_OK;
}

Test(tallies, a_full_disk_costs_time_and_no_job)
{
	kill_broker();
	ops.apply = apply_or_not;
	open_broker();
	until(is_read, "read back");
	end_jobs(10);
	no_room = true;
	tallies_put_day(b, b->tallies->days[0]);
	until(is_full, "full");
	end_jobs(5);
	tallies_put_day(b, b->tallies->days[0]); /* it is not even tried */
	no_room = false;
	until(is_well, "there is room again");
	close_broker();
	cr_assert_eq(stored(TODAY), 15u);
}

Test(tallies, a_day_that_cannot_be_read_is_read_later)
{
	until(is_read, "read back");
	end_jobs(10);
	close_broker();
	ops.tallies = read_or_not;
	no_reading = true;
	open_broker();
	end_jobs(3);
	for (unsigned i = 0; i < 100; i++) {
		turn();
		usleep(1000);
	}
	cr_assert_not(is_read());
	no_reading = false;
	until(is_read, "read in the end");
	cr_assert_eq(counted(TODAY), 13u);
	close_broker();
	cr_assert_eq(stored(TODAY), 13u);
}

/* ---- many ---- */

Test(tallies, jobs_that_come_one_by_one_are_all_measured)
{
	struct sum sum = { 0 };

	for (unsigned i = 0; i < 20000; i++)
		end_at(NOON + i * NS_PER_MS / 32, 0, 1, 1000);
	tallies_each(b, add_cell, &sum);
	cr_assert_eq(sum.jobs, 20000u);
	cr_assert_eq(sum.measured, 20000u);
	kill_broker();
}

static int
compare(const void *a, const void *c)
{
	const uint64_t *x = a, *y = c;
	return (*x > *y) - (*x < *y);
}

/* A million in a second: all are counted, some measured, and those stand for all. */
Test(tallies, a_sample_stands_for_all)
{
	enum { JOBS = 1000000 };
	static uint64_t runs[JOBS];
	uint64_t random = 1, sum = 0;

	for (unsigned i = 0; i < JOBS; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		runs[i] = 1000 + (random >> 40) % 100000 * ((random >> 33) % 9 + 1) + i / 100;
		sum += runs[i];
		end_at(NOON + i * 1000ull, 0, 1, runs[i]);
	}
	const struct figures *f = &b->tallies->days[0]->cells[0][1]->figures;
	const struct histogram *h = &f->stages[FIGURE_RUN];
	cr_assert_eq(f->jobs, JOBS);
	cr_assert_eq(f->run_ns, sum);
	cr_assert_lt(h->taken, JOBS / 8u);
	cr_assert_leq(llabs((long long)h->n - JOBS), TALLY_SAMPLE);
	qsort(runs, JOBS, sizeof(runs[0]), compare);
	for (unsigned per_mille = 50; per_mille <= 950; per_mille += 50) {
		/* 80,000 of a million: the share that is below is off by 0.2 % in one of a
		 * thousand runs; 2 % never. */
		uint64_t told = histogram_per_mille(h, per_mille);
		uint64_t low = runs[JOBS / 1000 * (per_mille - 20)];
		uint64_t high = runs[JOBS / 1000 * (per_mille + 20)];
		cr_assert(told >= low && told <= high, "p%g: %llu, not in %llu..%llu",
			  per_mille / 10.0, (unsigned long long)told, (unsigned long long)low,
			  (unsigned long long)high);
	}
	kill_broker();
}

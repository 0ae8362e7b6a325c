/*
 * bad_clients.c - bad_clients IDLE STALLED UNREAD HALF SEED: so many bad clients of each sort
 * (tests/daemon/crowd.h) of a daemon of its own, and a good one that works on.  Prints what the
 * broker pays for each, what the good one sees beside the same with no bad client, and what is
 * left when they are gone.  Exit status 0 when the good one's jobs all ended well, no sort costs
 * more than it may, and nothing is left.  SEED "" or left out: a new one, printed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/daemon/crowd.h"

#define JOBS     2000
#define MAX_JOBS 1200000 /* the default */
#define MIB      (1024.0 * 1024)

/* pyprepd.conf(5), max_clients. */
static const struct crowd_limits limits = {
	.broker_bytes = { 16384, 65536, 4 * MIB, 16384 },
	.left_bytes = 16 * MIB,
};

static unsigned
number(int argc, char **argv, int at, unsigned otherwise)
{
	return argc > at && argv[at][0] != '\0' ? (unsigned)strtoul(argv[at], NULL, 10) : otherwise;
}

static void
print_arm(const char *name, const struct crowd_arm *a)
{
	printf("%-26s %6ju jobs  p50 %8.1f us  p99 %9.1f us  broker %6.1f us each   %4ju detached  "
	       "p50 %8.1f us  p99 "
	       "%9.1f us\n",
	       name, (uintmax_t)a->jobs, a->p50_us, a->p99_us, a->broker_us, (uintmax_t)a->detached,
	       a->durable_p50_us, a->durable_p99_us);
}

static void
print_report(const struct crowd_report *r)
{
	static const char *const when[] = { "before", "with all of them", "after" };

	for (int i = 0; i < CROWD_SORTS; i++)
		printf("%-8s %5u clients, %5u came; each: broker %10.0f B, shared lane %7.0f B, "
		       "%.2f descriptors; %ju of their jobs wait in %.1f MiB of the table\n",
		       crowd_names[i], r->cost[i].clients, r->cost[i].connected,
		       r->cost[i].broker_bytes, r->cost[i].lane_bytes, r->cost[i].descriptors,
		       (uintmax_t)r->cost[i].queued, r->cost[i].table_bytes / MIB);
	for (int i = 0; i < 3; i++)
		printf("broker %-18s %8.2f MiB private, %5d descriptors, %5ju clients\n", when[i],
		       (double)r->bytes[i] / MIB, r->fds[i], (uintmax_t)r->clients[i]);
	print_arm("good, alone (control)", &r->alone[0]);
	print_arm("good, among all of them", &r->among);
	print_arm("good, others come and go", &r->churn);
	print_arm("good, alone again", &r->alone[1]);
	printf("a client costs the broker: idle %.1f kB, stalled %.1f kB, unread %.0f kB, gone "
	       "%.1f "
	       "kB; the good one's p99: %.0f us alone, %.0f us among them\n",
	       r->cost[CROWD_IDLE].broker_bytes / 1e3, r->cost[CROWD_STALLED].broker_bytes / 1e3,
	       r->cost[CROWD_UNREAD].broker_bytes / 1e3, r->cost[CROWD_HALF].broker_bytes / 1e3,
	       r->alone[0].p99_us, r->among.p99_us);
}

int
main(int argc, char **argv)
{
	unsigned counts[CROWD_SORTS] = { number(argc, argv, 1, 1000), number(argc, argv, 2, 200),
					 number(argc, argv, 3, 200), number(argc, argv, 4, 200) };
	unsigned seed = number(argc, argv, 5, (unsigned)time(NULL));
	struct test_daemon d = { 0 };
	struct crowd_report r;

	printf("bad_clients %u %u %u %u %u\n", counts[0], counts[1], counts[2], counts[3], seed);
	fflush(stdout);
	crowd_run(&d, counts, JOBS, MAX_JOBS, &limits, seed, false, &r);
	print_report(&r);
	if (r.text[0] != '\0')
		printf("%s\n", r.text);
	daemon_end(&d);
	printf(r.text[0] == '\0' ? "1 passed\n" : "FAILED\n");
	return r.text[0] == '\0' ? EXIT_SUCCESS : EXIT_FAILURE;
}

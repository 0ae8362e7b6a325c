/*
 * kill_latency.c - kill_latency ROUNDS SEED: so many jobs of a daemon of its own are cancelled or
 * time out at random moments, under load (tests/daemon/endings.h).  Prints how long it takes until
 * the client has the receipt, and until the last process of the job is gone.  Exit status 0 when
 * all were gone, nothing ran twice at once, no other job was hurt, and the control arm, a
 * supervisor that kills the leader alone, was seen to leave the others.  SEED "" or left out: a
 * new one, printed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/daemon/endings.h"

static void
print_times(enum ended_by by, enum ending e, const struct ending_times *t)
{
	/* What ignores TERM lives for the grace: the figures are what comes on top. */
	double grace = e == ENDING_STUBBORN ? ENDINGS_GRACE_MS : 0;

	printf("%-9s %-9s %5u  receipt p50 %7.2f  p99 %7.2f  most %7.2f ms   gone p50 %7.2f  p99 "
	       "%7.2f  most %7.2f ms%s\n",
	       ending_names[e], ended_by_names[by], t->n, t->receipt_ms[0] - grace,
	       t->receipt_ms[1] - grace, t->receipt_ms[2] - grace, t->gone_ms[0] - grace,
	       t->gone_ms[1] - grace, t->gone_ms[2] - grace,
	       grace > 0 ? "   beyond the grace" : "");
}

static void
print_report(const struct endings_report *r)
{
	for (enum ending e = 0; e < ENDINGS; e++)
		for (enum ended_by by = 0; by < ENDED_BYS; by++)
			if (r->times[by][e].n > 0)
				print_times(by, e, &r->times[by][e]);
	printf("%u rounds in %u s: %u ended before they ran, %u tried again, %u receipts before "
	       "the last process was gone\n"
	       "%ju attempts began: %ju twice, %ju beside an earlier one; %u processes left; %ju "
	       "jobs beside them, %ju failed\n",
	       r->rounds, r->seconds, r->unstarted, r->retried, r->early, (uintmax_t)r->begun,
	       (uintmax_t)r->twice, (uintmax_t)r->at_once, r->left, (uintmax_t)r->load_jobs,
	       (uintmax_t)r->load_wrong);
	printf("p99 from the cancel until all is gone: obedient %.1f ms, stubborn %.1f ms beyond "
	       "the "
	       "grace, computing %.1f ms; nothing left: %s; ran twice at once: %ju\n",
	       r->times[ENDED_BY_CANCEL][ENDING_OBEDIENT].gone_ms[1],
	       r->times[ENDED_BY_CANCEL][ENDING_STUBBORN].gone_ms[1] - ENDINGS_GRACE_MS,
	       r->times[ENDED_BY_CANCEL][ENDING_COMPUTING].gone_ms[1], r->left == 0 ? "yes" : "NO",
	       (uintmax_t)(r->twice + r->at_once));
}

int
main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
	unsigned seed = argc > 2 && argv[2][0] != '\0' ? (unsigned)strtoul(argv[2], NULL, 10)
						       : (unsigned)time(NULL);
	struct test_daemon d = { 0 };
	struct naive_report naive;
	struct endings_report r;

	printf("kill_latency %u %u\n", rounds, seed);
	fflush(stdout);
	end_naively(&naive);
	bool seen = naive.stood && naive.left && naive.at_once && naive.gone;
	printf("control: the leader alone killed, %s; started again, %s\n",
	       naive.left ? "the others live on" : "NOTHING SEEN",
	       naive.at_once ? "beside the first" : "NOTHING SEEN");
	end_jobs(&d, rounds, seed, &r);
	print_report(&r);
	if (r.text[0] != '\0')
		printf("%s\n", r.text);
	daemon_end(&d);
	bool good = seen && r.text[0] == '\0' && r.rounds == rounds;
	printf(good ? "1 passed\n" : "FAILED\n");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

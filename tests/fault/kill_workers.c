/*
 * kill_workers.c - kill_workers KILLS SEED LINK: random worker kills under load, in a daemon of
 * its own, over a link (the ring when left out).  Prints what happened; exit status 0 when every
 * job had exactly one receipt, no more failed than were killed, and nothing leaked.  SEED "" or
 * left out: a new one, printed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/daemon/kills.h"
#include "tests/link.h"

int
main(int argc, char **argv)
{
	unsigned kills = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
	unsigned seed = argc > 2 && argv[2][0] != '\0' ? (unsigned)strtoul(argv[2], NULL, 10)
						       : (unsigned)time(NULL);
	struct test_daemon d = { 0 };
	struct kills_report r;

	if (argc > 3)
		setenv("TEST_LINK", argv[3], 1); /* tests/link.h */
	printf("kill_workers %u %u %s\n", kills, seed, test_link());
	fflush(stdout);
	daemon_begin(&d, "[pool \"cpu\"]\nexecutor = process\nworkers = 2\n");
	kill_workers(&d, kills, seed, false, &r);
	daemon_end(&d);
	printf("%u kills; %ju jobs: %ju succeeded, %ju died with their worker; %ju wrong, %ju "
	       "twice, %ju never\n"
	       "kill to ready: p50 %u us, p90 %u us, most %u us\n%s%s\n",
	       r.kills, (uintmax_t)r.jobs, (uintmax_t)r.succeeded, (uintmax_t)r.died,
	       (uintmax_t)r.wrong, (uintmax_t)r.duplicates, (uintmax_t)r.missing, r.ready_us[0],
	       r.ready_us[1], r.ready_us[2], r.leak[0] != '\0' ? "leaked: " : "nothing leaked",
	       r.leak);
	bool good = r.kills == kills && r.wrong == 0 && r.duplicates == 0 && r.missing == 0 &&
		    r.died - r.lost <= r.kills && r.leak[0] == '\0';
	printf(good ? "1 passed\n" : "FAILED\n");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

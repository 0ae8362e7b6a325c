/*
 * kill_detached.c - kill_detached KILLS SEED [memory]: random kills of workers (70 %), broker
 * (20 %) and supervisor (10 %) of a daemon of its own, under detached jobs.  Exit status 0 when no
 * acknowledged job was lost and none ran twice without saying so.  "memory": the control arm, a
 * store that forgets.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/daemon/detached.h"

int
main(int argc, char **argv)
{
	unsigned kills = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
	unsigned seed = argc > 2 && argv[2][0] != '\0' ? (unsigned)strtoul(argv[2], NULL, 10)
						       : (unsigned)time(NULL);
	bool memory = argc > 3 && strcmp(argv[3], "memory") == 0;
	struct test_daemon d = { 0 };
	struct detached_report r;

	printf("kill_detached %u %u%s\n", kills, seed, memory ? " memory" : "");
	fflush(stdout);
	kill_detached(&d, kills, seed, memory, &r);
	printf("%u kills in %u s: %u workers, %u brokers, %u supervisors (ready again: p50 %u ms, "
	       "most "
	       "%u ms)\n"
	       "%ju jobs submitted, %ju acknowledged, %ju submitted again with the same token\n"
	       "%ju ended, %ju attempts beyond the first\n"
	       "%ju lost, %ju twice, %ju attempts begun twice, %ju unmarked re-runs, %ju "
	       "overlapping\n",
	       r.kills, r.seconds, r.workers, r.brokers, r.supervisors, r.back_ms[0], r.back_ms[1],
	       (uintmax_t)r.submitted, (uintmax_t)r.acknowledged, (uintmax_t)r.resubmitted,
	       (uintmax_t)r.ended, (uintmax_t)r.reruns, (uintmax_t)r.lost, (uintmax_t)r.twice,
	       (uintmax_t)r.same_attempt, (uintmax_t)r.unmarked, (uintmax_t)r.overlapping);
	bool good = r.lost == 0 && r.twice == 0 && r.same_attempt == 0 && r.unmarked == 0 &&
		    r.overlapping == 0 && r.text[0] == '\0' && r.kills == kills;
	if (r.text[0] != '\0')
		printf("%s\n", r.text);
	if (!good && getenv("KEEP") != NULL) {
		printf("FAILED; kept in %s\n", d.root);
		return EXIT_FAILURE;
	}
	daemon_end(&d);
	printf(good ? "1 passed\n" : "FAILED\n");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

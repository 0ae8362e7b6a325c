/* test_ipc_queue_kills.c - the queue under fire, some seconds of it; tests/fault/kill_queue.c
 * runs longer. */
#include <criterion/criterion.h>

#include <time.h>

#include "tests/ipc/queue_kills.h"

TestSuite(queue_kills, .timeout = 600);

static void
run(struct queue_kills *k)
{
	k->seed = (uint32_t)time(NULL);
	queue_kills_run(k);
	cr_log_info("seed %u: %u torn, %u doubled, %u invented, %u missing; %u + %u kills", k->seed,
		    k->torn, k->doubled, k->invented, k->missing, k->producer_kills,
		    k->consumer_kills);
}

Test(queue_kills, every_message_whose_consumer_lived_is_got_once_and_whole)
{
	struct queue_kills k = { .kills = 400, .messages = 100000, .capacity = 16 };

	run(&k);
	cr_expect_str_eq(k.wrong, "", "seed %u: %s", k.seed, k.wrong);
	cr_expect_gt(k.producer_kills, 0);
	cr_expect_gt(k.consumer_kills, 0);
}

Test(queue_kills, also_with_room_for_one_message_only)
{
	struct queue_kills k = { .kills = 200, .messages = 20000, .capacity = 1 };

	run(&k);
	cr_expect_str_eq(k.wrong, "", "seed %u: %s", k.seed, k.wrong);
}

Test(queue_kills, control_without_recovery_it_wedges)
{
	/* The first kill that hits ends it; which one does is chance. */
	struct queue_kills k = {
		.kills = 100000, .messages = 10000000, .capacity = 1, .blind = true
	};

	run(&k);
	cr_expect(k.wedged);
}

/*
 * test_client_policy.c - policies in the library: which values are refused, in which words, and
 * what goes onto the wire.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"
#include "ipc/policy.h"

static struct pyprep_problem why;
static char packed[8192]; /* in words */

TestSuite(client_policy, .timeout = 60);

static int
pack(const struct pyprep_policy *policy)
{
	msgpack_unpacked unpacked;
	msgpack_sbuffer map;
	size_t offset = 0;

	why = (struct pyprep_problem){ 0 };
	packed[0] = '\0';
	msgpack_sbuffer_init(&map);
	int r = policy_pack(policy, "fib", &map, &why);
	msgpack_unpacked_init(&unpacked);
	if (r == 0) {
		cr_assert_eq(msgpack_unpack_next(&unpacked, map.data, map.size, &offset),
			     MSGPACK_UNPACK_SUCCESS);
		cr_assert_eq(offset, map.size);
		msgpack_object_print_buffer(packed, sizeof(packed), unpacked.data);
	}
	msgpack_unpacked_destroy(&unpacked);
	msgpack_sbuffer_destroy(&map);
	return r;
}

Test(client_policy, nothing_asked_for_is_an_empty_map)
{
	struct pyprep_policy policy = { 0 };

	cr_assert_eq(pack(&policy), 0);
	cr_expect_str_eq(packed, "{}");
}

Test(client_policy, everything_is_packed)
{
	static const char *const on[] = { "exit:75", "oom", NULL };
	static const char *const labels[] = { "team=blue", "run=", NULL };
	static const struct pyprep_after after[] = { { 7, 0 }, { 8, 1 } };
	static const struct pyprep_rate rates[] = { { NULL, 5, 1000000000 },
						    { "key:api", 9, 1000000 } };
	static const struct pyprep_need needs[] = { { "gpu", 2 } };
	struct pyprep_policy policy = {
		.retries = 5,
		.backoff_first_ns = 10,
		.backoff_most_ns = 50,
		.jitter = "none",
		.retry_on = on,
		.delay_ns = 7,
		.after = after,
		.after_count = 2,
		.hold = 1,
		.key = "k",
		.if_exists = "return",
		.cache_ns = 60,
		.keep_ns = 70,
		.rates = rates,
		.rate_count = 2,
		.needs = needs,
		.need_count = 1,
		.memory_bytes = 1 << 20,
		.nice = 19,
		.labels = labels,
		.crash_limit = 1,
	};

	cr_assert_eq(pack(&policy), 0, "%s", why.message);
	cr_expect_str_eq(packed,
			 "{\"retries\"=>5, \"jitter\"=>\"none\", \"retry_on\"=>[\"exit:75\", "
			 "\"oom\"], \"backoff\"=>[\"exp\", 10, 50], \"delay\"=>7, \"held\"=>true, "
			 "\"after\"=>[[7, \"ok\"], [8, \"any\"]], \"key\"=>\"k\", "
			 "\"if_exists\"=>\"return\", \"rate\"=>[[\"kind:fib\", 5, 1000000000], "
			 "[\"key:api\", 9, 1000000]], \"need\"=>[[\"gpu\", 2]], "
			 "\"labels\"=>[[\"team\", \"blue\"], [\"run\", \"\"]], \"cache\"=>60, \"keep\"=>70, "
			 "\"memory\"=>1048576, \"nice\"=>19, \"crash_limit\"=>1}");
}

Test(client_policy, a_zero_wait_is_the_default_but_for_constant_ones)
{
	struct pyprep_policy policy = { .retries = 1, .backoff = "const" };

	cr_assert_eq(pack(&policy), 0);
	cr_expect(strstr(packed, "[\"const\", 0, 0]") != NULL, "%s", packed);
	policy = (struct pyprep_policy){ .backoff = "const",
					 .backoff_first_ns = 5,
					 .backoff_most_ns = 9 };
	cr_assert_eq(pack(&policy), 0);
	cr_expect(strstr(packed, "[\"const\", 5, 5]") != NULL, "%s", packed);
	policy = (struct pyprep_policy){ .backoff = "exp" };
	cr_assert_eq(pack(&policy), 0);
	cr_expect(strstr(packed, "[\"exp\", 1000000000, 300000000000]") != NULL, "%s", packed);
	policy = (struct pyprep_policy){ .backoff_first_ns = 500000000000 };
	cr_assert_eq(pack(&policy), 0);
	cr_expect(strstr(packed, "[\"exp\", 500000000000, 500000000000]") != NULL, "%s", packed);
	policy = (struct pyprep_policy){ .backoff_most_ns = 50 };
	cr_assert_eq(pack(&policy), 0);
	cr_expect(strstr(packed, "[\"exp\", 50, 50]") != NULL, "%s", packed);
}

static void
refused(struct pyprep_policy policy, const char *code, const char *message)
{
	cr_assert_eq(pack(&policy), -EINVAL, "not refused: %s", message);
	cr_expect_str_eq(why.code, code, "%s: %s", why.code, why.message);
	cr_expect_str_eq(why.message, message, "\"%s\"", why.message);
	cr_expect_eq(why.exit_status, 2);
}

#define REFUSED(code, message, ...) refused((struct pyprep_policy){ __VA_ARGS__ }, code, message)

Test(client_policy, wrong_attempts_are_refused)
{
	static const char *const exit_0[] = { "exit:0", NULL }, *const exit_256[] = { "exit:256",
										      NULL };
	static const char *const odd[] = { "cancelled", NULL };
	const char *many[POLICY_LIST_MAX + 2] = { 0 };

	for (unsigned i = 0; i <= POLICY_LIST_MAX; i++)
		many[i] = "exit";
	REFUSED("out_of_range", "retries must be from 0 to 10000, not 10001", .retries = 10001);
	REFUSED("out_of_range", "backoff must be one of exp, const, not \"slow\"",
		.backoff = "slow");
	REFUSED("out_of_range", "backoff: the first wait, 5 ns, is longer than the longest, 2 ns",
		.backoff_first_ns = 5, .backoff_most_ns = 2);
	REFUSED("out_of_range", "backoff: 18446744073709551615 ns is longer than ten years",
		.backoff_most_ns = UINT64_MAX);
	REFUSED("out_of_range", "jitter must be one of none, full, not \"half\"", .jitter = "half");
	REFUSED("out_of_range",
		"retry_on: \"exit:0\" is none of exit:N (1 to 255), exit, signal, timeout, "
		"worker_died, oom, error",
		.retry_on = exit_0);
	REFUSED("out_of_range",
		"retry_on: \"exit:256\" is none of exit:N (1 to 255), exit, signal, timeout, "
		"worker_died, oom, error",
		.retry_on = exit_256);
	REFUSED("out_of_range",
		"retry_on: \"cancelled\" is none of exit:N (1 to 255), exit, signal, timeout, "
		"worker_died, oom, error",
		.retry_on = odd);
	REFUSED("out_of_range", "retry_on: at most 16 words, not 17", .retry_on = many);
}

Test(client_policy, wrong_times_and_parents_are_refused)
{
	static struct pyprep_after after[POLICY_PARENTS + 1] = { { 7, 0 }, { 7, 1 } };
	static const struct pyprep_after none[] = { { 0, 0 } };

	REFUSED("out_of_range", "delay: 400000000000000000 ns is longer than ten years",
		.delay_ns = 400000000000000000);
	REFUSED("bad_request", "delay and at both say when the job starts; give one of them",
		.delay_ns = 1, .at_ns = 1);
	REFUSED("out_of_range", "at must be from 0 to 9223372036854775807, not 9223372036854775808",
		.at_ns = (uint64_t)INT64_MAX + 1);
	REFUSED("bad_request", "after: job 7 is named twice", .after = after, .after_count = 2);
	REFUSED("out_of_range", "after: a job's id must be from 1 to 9223372036854775807, not 0",
		.after = none, .after_count = 1);
	REFUSED("out_of_range", "the number of jobs to start after must be from 0 to 256, not 257",
		.after = after, .after_count = 257);
}

Test(client_policy, wrong_keys_rates_and_needs_are_refused)
{
	static const struct pyprep_rate group[] = { { "fib", 1, 1000000 } };
	static const struct pyprep_rate zero[] = { { NULL, 0, 1000000 } };
	static const struct pyprep_rate brief[] = { { NULL, 1, 999999 } };
	static const struct pyprep_need twice[] = { { "gpu", 1 }, { "gpu", 2 } };
	static const struct pyprep_need unnamed[] = { { NULL, 1 } };
	char key[POLICY_KEY_MAX + 2];

	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	REFUSED("out_of_range", "key must have 1 to 127 bytes, not 128", .key = key);
	REFUSED("out_of_range", "key must have 1 to 127 bytes, not 0", .key = "");
	REFUSED("out_of_range", "key must be UTF-8 without control characters", .key = "a\nb");
	REFUSED("out_of_range", "key must be UTF-8 without control characters", .key = "\xff");
	REFUSED("bad_request", "if_exists says what happens when the key is there; give a key, too",
		.if_exists = "return");
	REFUSED("out_of_range", "if_exists must be one of reject, return, replace, not \"ignore\"",
		.key = "k", .if_exists = "ignore");
	REFUSED("out_of_range", "rate: a group is kind:NAME or key:NAME, not \"fib\"",
		.rates = group, .rate_count = 1);
	REFUSED("out_of_range", "rate: the number of starts must be from 1 to 1000000000, not 0",
		.rates = zero, .rate_count = 1);
	REFUSED("out_of_range",
		"rate: the window in ns must be from 1000000 to 316224000000000000, not 999999",
		.rates = brief, .rate_count = 1);
	REFUSED("bad_request", "need: \"gpu\" is named twice", .needs = twice, .need_count = 2);
	REFUSED("out_of_range", "need: a resource's name must have 1 to 63 bytes, not 0",
		.needs = unnamed, .need_count = 1);
}

Test(client_policy, wrong_limits_and_labels_are_refused)
{
	static const char *const plain[] = { "team", NULL }, *const nameless[] = { "=x", NULL };
	static const char *const twice[] = { "a=1", "ab=1", "a=2", NULL };

	REFUSED("out_of_range",
		"the limit of memory in bytes must be from 1048576 to 70368744177664, not 1048575",
		.memory_bytes = 1048575);
	REFUSED("out_of_range", "nice must be from 0 to 19, not 20", .nice = 20);
	REFUSED("out_of_range", "nice must be from 0 to 19, not -1", .nice = -1);
	REFUSED("out_of_range", "crash_limit must be from 0 to 1000, not 1001",
		.crash_limit = 1001);
	REFUSED("bad_request",
		"label \"team\" is not of the form NAME=VALUE; write for example team=blue",
		.labels = plain);
	REFUSED("bad_request",
		"label \"=x\" is not of the form NAME=VALUE; write for example team=blue",
		.labels = nameless);
	REFUSED("bad_request", "label \"a\" is given twice", .labels = twice);
}

Test(client_policy, long_lists_fit_but_not_all_of_them_at_once)
{
	static struct pyprep_after after[POLICY_PARENTS];
	static struct pyprep_rate rates[POLICY_LIST_MAX];
	static struct pyprep_need needs[POLICY_LIST_MAX];
	static char text[POLICY_LIST_MAX][200], name[POLICY_LIST_MAX][64], group[64] = "key:";
	const char *labels[POLICY_LIST_MAX + 1] = { 0 };

	memset(group + 4, 'g', 59);
	for (unsigned i = 0; i < POLICY_LIST_MAX; i++) {
		memset(text[i], 'x', 190);
		text[i][i] = 'y';
		text[i][62] = '=';
		labels[i] = text[i];
		memset(name[i], 'n', 63);
		name[i][i] = 'm';
		needs[i] = (struct pyprep_need){ name[i], 1000000 };
		rates[i] = (struct pyprep_rate){ group, 1000000, UINT64_C(1) << 50 };
	}
	for (unsigned i = 0; i < POLICY_PARENTS; i++)
		after[i] = (struct pyprep_after){ UINT64_C(1) << 40 | i, 0 };
	struct pyprep_policy policy = { .labels = labels,
					.after = after,
					.after_count = POLICY_PARENTS };
	cr_assert_eq(pack(&policy), 0, "%s", why.message);
	policy.rates = rates;
	policy.rate_count = POLICY_LIST_MAX;
	policy.needs = needs;
	policy.need_count = POLICY_LIST_MAX;
	cr_assert_eq(pack(&policy), -EINVAL);
	cr_expect_str_eq(why.code, "too_large");
	cr_expect(strstr(why.message, "at most 8192 are taken") != NULL, "%s", why.message);
}

/* test_gate_keys.c - one open job of a key at most, and what happens to the next one. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "tests/daemon/policies.h"

#define POOLS "[pool \"cpu\"]\nexecutor = process\nworkers = 3\n"

static struct test_daemon d;
static struct pyprep *p;

static void
setup(void)
{
	daemon_begin(&d, "[daemon]\nstore = memory\n" POOLS);
	p = daemon_connect(&d);
}

static void
setup_on_disk(void)
{
	daemon_begin(&d, POOLS);
	p = daemon_connect(&d);
}

static void
teardown(void)
{
	pyprep_close(p);
	daemon_end(&d);
}

TestSuite(keys, .init = setup, .fini = teardown, .timeout = 600);
TestSuite(keys_restart, .init = setup_on_disk, .fini = teardown, .timeout = 600);

static struct pyprep_policy
with_key(const char *key, const char *if_exists)
{
	return (struct pyprep_policy){ .key = key, .if_exists = if_exists };
}

static void
expect_taken(const struct pyprep_policy *policy, uint64_t holder)
{
	struct pyprep_receipt r;
	char text[64];

	snprintf(text, sizeof(text), "job %ju has the key", (uintmax_t)holder);
	receipt_for(p, start_with(p, "noop", NULL, NULL, policy), 20000, &r);
	cr_expect_str_eq(r.state, "refused");
	cr_expect_str_eq(r.error_code, "key_exists");
	cr_expect_not_null(strstr(r.error_message, text), "%s", r.error_message);
}

Test(keys, are_had_by_one_open_job_at_most)
{
	struct pyprep_policy reject = with_key("k", NULL), back = with_key("k", "return");
	struct pyprep_policy other = with_key("other", NULL);
	struct pyprep_receipt r;

	uint64_t holder = detach(p, "sleep", "ms=60000", &reject, NULL);
	expect_taken(&reject, holder);
	expect_taken(&back, holder);
	cr_expect_eq(detach(p, "noop", NULL, &reject, &r), 0u);
	cr_expect_str_eq(r.error_code, "key_exists");
	cr_expect_eq(detach(p, "noop", NULL, &back, NULL), holder);
	cr_expect_neq(detach(p, "noop", NULL, &other, NULL), 0u);
	char words[64];
	snprintf(words, sizeof(words), "ids=%ju,", (uintmax_t)holder);
	cr_assert_eq(ask(p, "cancel", words, NULL), 0);
	cr_expect(ended_as(p, holder, "cancelled"));
	uint64_t next = detach(p, "noop", NULL, &reject, NULL);
	cr_expect(ended_as(p, next, "succeeded"));
}

Test(keys, attached_holders_are_not_returned_as_durable)
{
	struct pyprep_policy reject = with_key("k", NULL), back = with_key("k", "return");
	struct pyprep *client = daemon_connect(&d);
	struct pyprep_receipt r;

	start_with(client, "sleep", "cpu", "ms=60000", &reject);
	cr_assert(wait_until(20000, jobs_started(p) == 1));
	expect_taken(&reject, newest_job(p));
	cr_expect_eq(detach(p, "noop", NULL, &back, &r), 0u);
	cr_expect_str_eq(r.error_code, "key_exists");
	pyprep_close(client);
	cr_expect(wait_until(20000, detach(p, "noop", NULL, &back, &r) != 0));
}

Test(keys, replaced_jobs_end_before_the_new_one_starts)
{
	struct pyprep_policy replace = with_key("k", "replace");
	struct pyprep_receipt r, next;
	uint64_t id[12];

	for (unsigned i = 0; i < 12; i++) {
		id[i] = detach(p, i == 11 ? "noop" : "sleep", i == 11 ? NULL : "ms=60000", &replace,
			       &r);
		cr_assert_neq(id[i], 0u, "%s", r.error_message);
		/* some are replaced before they start, some while they run */
		cr_assert(i % 2 || i == 11 || wait_until(20000, job_is(p, id[i], "running")));
	}
	for (unsigned i = 0; i < 11; i++) {
		end_of(p, id[i], 60000, &r);
		cr_expect_str_eq(r.state, "cancelled");
		end_of(p, id[i + 1], 60000, &next);
		cr_expect(started_ns(&next) == 0 || started_ns(&next) >= r.ended_ns);
	}
	end_of(p, id[11], 60000, &r);
	cr_expect_str_eq(r.state, "succeeded");
}

/* The answer was lost: the client asks again, and must not replace what it submitted. */
Test(keys, the_same_submit_once_more_replaces_nothing)
{
	static const unsigned char token[PYPREP_TOKEN] = "one and the same";
	struct pyprep_policy replace = with_key("k", "replace");
	const char *ms[] = { "ms=300", NULL };
	struct pyprep_job job = {
		.kind = "sleep", .params = ms, .policy = &replace, .flags = PYPREP_DETACH
	};
	struct pyprep_prepared *prepared;
	struct pyprep_problem why;
	uint64_t id[3];

	cr_assert_eq(pyprep_prepare(p, &job, &prepared, &why), 0, "%s", why.message);
	for (unsigned i = 0; i < 3; i++) {
		struct pyprep_event event;
		cr_assert_eq(pyprep_submit_token(p, prepared, token, NULL, NULL), 0);
		cr_assert_eq(pyprep_next(p, 60000, &event), 1);
		cr_assert_eq(event.type, PYPREP_ACCEPTED);
		cr_expect_eq(event.known, i > 0);
		id[i] = event.id;
	}
	pyprep_prepared_free(prepared);
	cr_expect_eq(id[1], id[0]);
	cr_expect_eq(id[2], id[0]);
	cr_expect(ended_as(p, id[0], "succeeded"));
}

Test(keys_restart, a_key_is_still_taken_for_the_next_broker)
{
	struct pyprep_policy reject = with_key("k", NULL), back = with_key("k", "return");
	struct pyprep_policy held = { .key = "k", .hold = 1 };

	uint64_t holder = detach(p, "noop", NULL, &held, NULL);
	p = replace_broker(&d, p);
	expect_taken(&reject, holder);
	cr_expect_eq(detach(p, "noop", NULL, &back, NULL), holder);
	release(p, holder);
	cr_expect(ended_as(p, holder, "succeeded"));
}

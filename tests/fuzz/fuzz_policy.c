/*
 * fuzz_policy.c - bytes of a stranger as a map of policies.
 *
 * What reads well is written and read again: it must come out as it was.  Its ends are asked for
 * another attempt, whose wait must be within what was allowed.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/policy.h"

#define NOW UINT64_C(1700000000000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Waits never shrink and never pass the longest. */
static void
retry(const struct policy *p)
{
	struct outcome outcome = { .state = JOB_FAILED, .cause = CAUSE_ERROR };
	uint64_t last_ns = 0;

	for (unsigned attempt = 1; attempt < 80; attempt++) {
		uint64_t wait_ns;
		if (!policy_retries(p, attempt, &outcome, UINT64_MAX, &wait_ns))
			return;
		if (wait_ns < last_ns || wait_ns > p->backoff_most_ns)
			abort();
		last_ns = wait_ns;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy *p = NULL, *again = NULL;
	uint32_t length, length_again;
	void *map, *map_again;
	char why[400];

	if (size > UINT32_MAX)
		return 0;
	why[0] = '\0';
	uint8_t *exact = malloc(size > 0 ? size : 1); /* so that one byte too far is seen */
	if (exact == NULL)
		return 0;
	memcpy(exact, data, size);
	enum job_error error = policy_read(exact, (uint32_t)size, NOW, &p, why, sizeof(why));
	free(exact);
	if (error != ERR_NONE) {
		if (why[0] == '\0' || p != NULL)
			abort(); /* every refusal has a reason */
		return 0;
	}
	if (policy_write(p, &map, &length) < 0)
		abort();
	/* times that were short on the wire may be written longer */
	if (length <= POLICY_BYTES_MAX) {
		if (policy_read(map, length, NOW + 1, &again, why, sizeof(why)) != ERR_NONE ||
		    policy_write(again, &map_again, &length_again) < 0)
			abort();
		if (length != length_again || memcmp(map, map_again, length) != 0 ||
		    policy_is_plain(p) != policy_is_plain(again))
			abort();
		free(map_again);
	}
	retry(p);
	free(map);
	policy_free(again);
	policy_free(p);
	return 0;
}

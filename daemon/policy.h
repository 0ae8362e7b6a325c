/* clang-format off */
/*
 * policy.h - when and how often a job runs, as its submitter asked: read from one msgpack map.
 *
 *   retries      int                attempts after the first; 0
 *   backoff      [kind, ns, ns]     "const" or "exp", first wait, longest wait; exp, 1 s, 5 min
 *   jitter       "none" | "full"    full: any wait from 0 to that; full with exp, none with const
 *   retry_on     [text, ...]        "exit:N", "exit", "signal", "timeout", "worker_died", "oom",
 *                                   "error"; without it all of them
 *   delay        int                ns from now; becomes `at` before it is stored
 *   at           int                CLOCK_REALTIME, ns
 *   after        [[id, mode], ...]  mode "ok" (succeeded), "any" (ended)
 *   held         bool               waits for `release`
 *   key          text               at most one open job with this key
 *   if_exists    text               "reject", "return", "replace"; only with a key
 *   cache        int                ns: take the result of the same kind and parameters if it is
 *                                   not older
 *   keep         int                ns: how long the store keeps it after its end
 *   rate         [[group, count, ns], ...]  group: "kind:NAME" or "key:NAME"; sliding window
 *   need         [[name, n], ...]   named resources of the config
 *   memory       int                bytes; enforced
 *   nice         int                0 .. 19
 *   labels       [[name, value], ...]
 *   crash_limit  int                workers it may kill before quarantine; 3
 *
 * Unknown keys and wrong types are refused by name.  Only the broker reads this.
 */
/* clang-format on */
#ifndef PYPREP_DAEMON_POLICY_H
#define PYPREP_DAEMON_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/store.h"
#include "ipc/policy.h"

enum policy_after { AFTER_OK, AFTER_ANY };
enum policy_exists { EXISTS_REJECT, EXISTS_RETURN, EXISTS_REPLACE };
enum policy_backoff { BACKOFF_CONST, BACKOFF_EXP };

struct policy_parent {
	uint64_t id;
	enum policy_after mode;
};

struct policy_rate {
	char group[POLICY_NAME_MAX + 1];
	uint32_t count;
	uint64_t window_ns;
};

struct policy_need {
	char name[POLICY_NAME_MAX + 1];
	uint64_t count;
};

struct policy_label {
	const char *name, *value;
};

#define POLICY_RETRY_EXIT        1u /* any exit status but 0 */
#define POLICY_RETRY_SIGNAL      2u
#define POLICY_RETRY_TIMEOUT     4u
#define POLICY_RETRY_WORKER_DIED 8u
#define POLICY_RETRY_OOM         16u
#define POLICY_RETRY_ERROR       32u /* the kind's own error */
#define POLICY_RETRY_ALL         63u

/* One allocation: lists and texts lie behind it. */
struct policy {
	uint32_t retries;
	uint32_t retry_on;              /* POLICY_RETRY_* */
	uint8_t exits[POLICY_LIST_MAX]; /* retry on these statuses, beside retry_on */
	unsigned exit_count;
	enum policy_backoff backoff;
	uint64_t backoff_first_ns, backoff_most_ns;
	bool jitter;
	bool held;
	enum policy_exists if_exists;
	uint64_t at_ns;  /* CLOCK_REALTIME; 0: at once */
	const char *key; /* "": none */
	uint64_t cache_ns;
	uint64_t keep_ns; /* 0: as store_keep says */
	uint64_t memory_bytes;
	int nice;
	uint32_t crash_limit;
	struct policy_parent *parents;
	struct policy_rate *rates;
	struct policy_need *needs;
	struct policy_label *labels;
	unsigned parent_count, rate_count, need_count, label_count;
};

/* Read and check a map.  `now_wall_ns`: what "delay" counts from.  The caller frees *ret with
 * policy_free().  ERR_NONE, or with a sentence in `why`: ERR_UNKNOWN_PARAM, ERR_BAD_TYPE,
 * ERR_OUT_OF_RANGE, ERR_BAD_REQUEST, ERR_TOO_LARGE, ERR_INTERNAL (memory). */
enum job_error policy_read(const void *map, uint32_t length, uint64_t now_wall_ns,
			   struct policy **ret, char *why, size_t why_size);
void policy_free(struct policy *p); /* NULL is fine */

/* Does it ask for anything beyond what every job has?  If not, the job needs no policy. */
bool policy_is_plain(const struct policy *p);

/* The map again, with `delay` as `at` and with the defaults that a later version could change:
 * what the store keeps.  malloc'ed, the caller frees *ret.  0 or -ENOMEM. */
int policy_write(const struct policy *p, void **ret, uint32_t *ret_length);

/* Attempt `attempt` (from 1) ended like this: shall it be tried again, and after how long?
 * `random` is a number from 0 to UINT64_MAX for the jitter. */
bool policy_retries(const struct policy *p, unsigned attempt, const struct outcome *outcome,
		    uint64_t random, uint64_t *ret_wait_ns);

#endif

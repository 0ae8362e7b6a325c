/*
 * policy_options.h - the options that say when and how often a job runs, and the policy they make.
 *
 * Options fill a struct policy_options; policy_options_read() checks them and makes what the
 * library takes.  Strings are the command line's.
 */
#ifndef PYPREP_CTL_POLICY_OPTIONS_H
#define PYPREP_CTL_POLICY_OPTIONS_H

#include "client/ctl/command.h"

struct policy_options {
	int64_t retries, nice, crash_limit;
	const char *backoff, *jitter, *at, *key, *if_exists;
	struct option_list retry_on, after, rate, need, label;
	uint64_t delay_ns, cache_ns, keep_ns, memory_bytes;
	bool hold;
};

/* A policy and what it points to. */
struct policy_spec {
	struct pyprep_policy policy;
	const char **retry_on, **labels;
	struct pyprep_after *after;
	struct pyprep_rate *rates;
	struct pyprep_need *needs;
	char **texts; /* pieces of the command line's words */
	size_t text_count;
	bool given; /* there is a policy at all */
};

/* 0, or EXIT_USAGE, said; *ret can be freed in both cases. */
int policy_options_read(const struct policy_options *options, struct policy_spec *ret);
void policy_spec_free(struct policy_spec *spec);

/* policy_when.c: "2026-11-20T16:30:00+01:00", without a zone in local time; "16:30" is the next
 * time that the clock shows it.  CLOCK_REALTIME in ns; -EINVAL, -ERANGE: there is no such time. */
int policy_time(const char *text, uint64_t now_ns, uint64_t *ret_ns);

/* clang-format off */
/* Rows of an options' table that fill `o`, a struct policy_options: of every kind of submit ... */
#define POLICY_OPTION_ROWS(o)                                                                      \
	{ "retries", 0, OPTION_INT, &(o).retries, "N",                                             \
	  "try again up to N times when it fails", 0, 10000 },                                     \
	{ "backoff", 0, OPTION_TEXT, &(o).backoff, "HOW",                                          \
	  "wait between attempts: exp:1s..5m doubles (the default), const:2s does not", 0, 0 },    \
	{ "jitter", 0, OPTION_CHOICE, &(o).jitter, "none|full",                                    \
	  "full: wait a random part of that (the default with exp)", 0, 0 },                       \
	{ "retry-on", 0, OPTION_LIST, &(o).retry_on, "ENDS",                                       \
	  "only after these: exit:N,exit,signal,timeout,worker_died,oom,error", 0, 0 },            \
	{ "delay", 0, OPTION_DURATION, &(o).delay_ns, "TIME", "start so much later", 0, 0 },       \
	{ "at", 0, OPTION_TEXT, &(o).at, "TIME",                                                   \
	  "start then: 16:30, 2026-11-20T16:30:00, with Z or +01:00 (else local)", 0, 0 },         \
	{ "hold", 0, OPTION_FLAG, &(o).hold, NULL, "do not start before `release`", 0, 0 },        \
	{ "after", 0, OPTION_LIST, &(o).after, "ID[:ok|:any]",                                     \
	  "start when these jobs have succeeded (:any: ended); 7,8:any; repeatable", 0, 0 },       \
	{ "rate", 0, OPTION_LIST, &(o).rate, "[GROUP=]N/TIME",                                     \
	  "at most N starts in any TIME: 5/1s of this kind, kind:NAME=5/1s, key:NAME=5/1s;"        \
	  " repeatable", 0, 0 },                                                                   \
	{ "need", 0, OPTION_LIST, &(o).need, "NAME[=N]",                                           \
	  "N of a resource of the configuration while it runs; repeatable", 0, 0 },                \
	{ "memory-limit", 0, OPTION_SIZE, &(o).memory_bytes, "SIZE",                               \
	  "end it when it takes more memory: 512M", 0, 0 },                                        \
	{ "nice", 0, OPTION_INT, &(o).nice, "N", "0 to 19: yield the CPU to others", 0, 19 },      \
	{ "label", 0, OPTION_LIST, &(o).label, "NAME=VALUE",                                       \
	  "a mark to find it by; repeatable", 0, 0 },                                              \
	{ "crash-limit", 0, OPTION_INT, &(o).crash_limit, "N",                                     \
	  "workers it may kill before it is put aside (3)", 1, 1000 }
/* ... and of single jobs. */
#define POLICY_OPTION_ROWS_SINGLE(o)                                                               \
	{ "key", 0, OPTION_TEXT, &(o).key, "K",                                                    \
	  "at most one job with this key that has not ended", 0, 0 },                              \
	{ "if-exists", 0, OPTION_CHOICE, &(o).if_exists, "return|reject|replace",                  \
	  "there is one: return its id, refuse this one (the default), cancel it", 0, 0 },         \
	{ "cache", 0, OPTION_DURATION, &(o).cache_ns, "TTL",                                       \
	  "take the result of the same kind and parameters if it is not older", 0, 0 }
/* ... and of detached ones. */
#define POLICY_OPTION_ROWS_DETACHED(o)                                                             \
	{ "keep", 0, OPTION_DURATION, &(o).keep_ns, "TIME",                                        \
	  "with --detach: keep its record and output so long after its end", 0, 0 }
/* clang-format on */

#endif

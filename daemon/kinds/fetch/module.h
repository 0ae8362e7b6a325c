/*
 * module.h - what pyprepd and its module fetch.so know of each other.
 *
 * libcurl and the TLS libraries it brings take milliseconds to load and megabytes to hold, in
 * every process of the daemon.  So they are not linked to pyprepd: a worker loads the module,
 * which is linked to them, when it runs its first `fetch`.
 *
 * The module knows libcurl and libevent; jobs, arguments and results stay with pyprepd.
 */
#ifndef PYPREP_DAEMON_KINDS_FETCH_MODULE_H
#define PYPREP_DAEMON_KINDS_FETCH_MODULE_H

#include <stdint.h>

struct event_base;
struct fetch_transfer; /* the module's */

#define FETCH_MODULE_FILE    "fetch.so"
#define FETCH_MODULE_SYMBOL  "pyprep_fetch_module"
#define FETCH_MODULE_VERSION 1u

struct fetch_answer {
	const char *error; /* NULL: an answer came, whatever its status */
	long status;       /* of HTTP */
	uint64_t bytes;    /* of the body */
	uint64_t time_ns;  /* from start to the last byte */
};

/* Called by the module with the owner it was given. */
struct fetch_hooks {
	void (*enter)(void *owner); /* around its callbacks, for the time they take */
	void (*leave)(void *owner);
	/* Once, between enter and leave but instead of leave; the transfer is gone. */
	void (*done)(void *owner, const struct fetch_answer *answer);
};

/* What the module exports as FETCH_MODULE_SYMBOL. */
struct fetch_module {
	unsigned version;
	/* Begin to fetch `url` on `base`; done() is never called from here.  NULL with *error
	 * (a constant) when that is not possible. */
	struct fetch_transfer *(*start)(struct event_base *base, const char *url,
					const struct fetch_hooks *hooks, void *owner,
					const char **error);
	/* Give up: no hook is called any more. */
	void (*stop)(struct fetch_transfer *transfer);
};

#endif

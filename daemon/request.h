/*
 * request.h - control requests: the verbs of docs/protocol.md.
 *
 * To add a verb: a row in requests.c, a function in one of the request_*.c, a line in
 * docs/protocol.md and a test.
 */
#ifndef PYPREP_DAEMON_REQUEST_H
#define PYPREP_DAEMON_REQUEST_H

#include <msgpack.h>

#include "daemon/broker.h"

struct request {
	struct client *client;
	uint32_t number;
	const msgpack_object *map;
	const void *bytes; /* the same, as they came */
	uint32_t length;
};

struct verb {
	const char *name;
	enum access access;
	void (*run)(struct broker *b, const struct request *r);
	bool of_open_jobs; /* named in "id", "ids" or "all": needs them in the table */
};

/* Fields of the map; false or NULL when they are missing or of another type. */
const msgpack_object *request_field(const struct request *r, const char *name);
bool request_int(const struct request *r, const char *name, int64_t *ret);
bool request_bool(const struct request *r, const char *name);
bool request_text(const struct request *r, const char *name, char *buffer, size_t size);

/* A reply under construction: msgpack maps are written by hand with these. */
struct reply {
	msgpack_sbuffer bytes;
	msgpack_packer pack;
};
void reply_begin(struct reply *a, unsigned fields);
void reply_start(struct reply *a); /* without a map: the caller packs one */
void reply_key(struct reply *a, const char *key);
void reply_text(struct reply *a, const char *key, const char *value);
void reply_uint(struct reply *a, const char *key, uint64_t value);
void reply_flag(struct reply *a, const char *key, bool value);
void reply_string(struct reply *a, const char *value); /* a value alone */
void reply_send(struct broker *b, const struct request *r, struct reply *a, uint32_t flags);
void request_error(struct broker *b, const struct request *r, enum job_error error,
		   const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The pool that the request names as "pool", or NULL after an error reply. */
struct pool *request_pool(struct broker *b, const struct request *r);

/* request_jobs.c: one job map onto `a`; from the table, or from the history. */
void reply_job(struct broker *b, struct reply *a, const struct job *job);
void reply_ended(struct reply *a, const struct history_entry *e);
/* ... or from the store, with its attempts unless `attempts` is NULL. */
struct store_row;
struct row_list;
void reply_row(struct broker *b, struct reply *a, const struct store_row *row,
	       const struct row_list *attempts);

/* Whose jobs may this client see and end? */
bool request_may_touch(const struct client *c, uint32_t uid);
/* ... and if not, the error is sent. */
bool request_may_see(struct broker *b, const struct request *r, uint64_t id, uint32_t uid);

/* request_later.c: true when it names jobs that may still come out of the store; it is handled
 * again when they have. */
bool request_later(struct broker *b, const struct request *r);

/* request_wait.c */
void watchers_tell(struct broker *b, uint64_t id);
void watchers_drop(struct broker *b, struct client *c);

/* The verbs' functions. */
void verb_resolve(struct broker *b, const struct request *r);
void verb_kinds(struct broker *b, const struct request *r);
void verb_status(struct broker *b, const struct request *r);
void verb_ls(struct broker *b, const struct request *r);
void verb_show(struct broker *b, const struct request *r);
void verb_why(struct broker *b, const struct request *r);
void verb_wait(struct broker *b, const struct request *r);
void verb_doctor(struct broker *b, const struct request *r);
void verb_leaks(struct broker *b, const struct request *r);
void verb_ipc(struct broker *b, const struct request *r);
void verb_logs(struct broker *b, const struct request *r);
void verb_report(struct broker *b, const struct request *r);
void verb_rm(struct broker *b, const struct request *r);
void verb_retry(struct broker *b, const struct request *r);
void verb_drain(struct broker *b, const struct request *r);
const char *pool_state_text(enum pool_state state);
void verb_cancel(struct broker *b, const struct request *r);
void verb_hold(struct broker *b, const struct request *r);
void verb_release(struct broker *b, const struct request *r);

#endif

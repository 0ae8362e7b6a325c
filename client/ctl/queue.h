/*
 * queue.h - what the files of `pyprepctl queue` share.
 *
 *   queue.c        the verbs and the options
 *   queue_names.c  verbs about queues: create, ls, stat, close, join, rm
 *   queue_put.c    put
 *   queue_get.c    get
 */
#ifndef PYPREP_CTL_QUEUE_H
#define PYPREP_CTL_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/ctl/command.h"
#include "ipc/queue.h"

struct queue_arguments {
	int64_t capacity, message_max, members_max, count;
	const char *mode;
	uint64_t timeout_ns;
	bool no_wait, all;
};
extern struct queue_arguments queue_arguments;

/* How long put, get and join may wait, by the options. */
uint64_t queue_patience(void);

/* Each verb: `word` are its `count` words, after the verb.  Returns the exit status. */
typedef int (*queue_verb_fn)(char **word, int count);
int queue_verb_create(char **word, int count);
int queue_verb_put(char **word, int count);
int queue_verb_get(char **word, int count);
int queue_verb_stat(char **word, int count);
int queue_verb_ls(char **word, int count);
int queue_verb_close(char **word, int count);
int queue_verb_join(char **word, int count);
int queue_verb_rm(char **word, int count);

/* Say what -errno means for the queue `name`; with the nearest name when there is none such.
 * Returns the exit status. */
int queue_fail(const char *name, int r);

#endif

/*
 * array.h - what the files of `pyprepctl array` share.
 *
 *   array.c        the verbs and the options
 *   array_names.c  verbs about names: create, adopt, ls, stat, rm, restore, collect, hold
 *   array_show.c   show
 *   array_op.c     fill, scale, random, sum, dot: one piece of work each
 *   array_sort.c   sort: runs and merges
 *   array_work.c   a piece of work, as jobs or in this process
 */
#ifndef PYPREP_CTL_ARRAY_H
#define PYPREP_CTL_ARRAY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/ctl/command.h"
#include "shm/array.h"

struct array_options {
	const char *mode, *pool;
	int64_t seed;
	bool weak, here;
};
extern struct array_options array_options;

/* Each verb: `word` are its words, after the verb.  Returns the exit status. */
typedef int (*array_verb_fn)(char **word, const struct words *words);
int array_verb_create(char **word, const struct words *words);
int array_verb_adopt(char **word, const struct words *words);
int array_verb_ls(char **word, const struct words *words);
int array_verb_stat(char **word, const struct words *words);
int array_verb_rm(char **word, const struct words *words);
int array_verb_restore(char **word, const struct words *words);
int array_verb_collect(char **word, const struct words *words);
int array_verb_hold(char **word, const struct words *words);
int array_verb_show(char **word, const struct words *words);
int array_verb_fill(char **word, const struct words *words);
int array_verb_scale(char **word, const struct words *words);
int array_verb_random(char **word, const struct words *words);
int array_verb_sum(char **word, const struct words *words);
int array_verb_dot(char **word, const struct words *words);
int array_verb_sort(char **word, const struct words *words);

/* Say what -errno means for the array `name`; with the nearest name when there is none such.
 * Returns the exit status. */
int array_fail(const char *name, int r);

/* 0, or the exit status, said: there is no such array, or its name is gone. */
int array_find(const char *name, struct array_stat *ret);
int array_open(const char *name, unsigned flags, struct array **ret);

/* A value as JSON: integers beyond 2^53 as text, what JSON has no number for as text. */
json_t *array_value_json(enum array_type type, union array_value value);
json_t *array_shape_json(const struct array_shape *shape);

/* ---- work ---- */

struct array_work;
/* Item `item` of the work in this process, with its arrays mapped; its result.  -errno. */
typedef int (*array_piece_fn)(struct array_work *work, uint64_t item, int64_t *ret);

struct array_work {
	const char *kind;      /* of the array job */
	const char *params[4]; /* "name=value" of its arguments; NULL at the end */
	uint64_t items;
	bool once; /* an item must not be done twice */
	array_piece_fn piece;
	bool writes;          /* the arrays are mapped for writing */
	const char *names[2]; /* to map for piece(); the second may be NULL */
	union array_value value;
	uint64_t number;
	int64_t second_word;  /* of the part that piece() computed last, */
	uint64_t second_item; /* for this item; 0: none */
	/* what came of it */
	struct array *arrays[2];
	int64_t *results; /* of the items */
	unsigned char *done;
	uint64_t missing; /* items without a result */
	uint64_t again;   /* items that were done a second time: their worker had died */
	bool jobs;        /* by jobs, at least in part */
	bool interrupted;
	bool torn; /* `once`, and items without a result may be half done */
	char pool[64];
	uint64_t elapsed_ns;
};

/* Do it: as an array job when a daemon answers and --here was not given, else in this process.
 * What a dead worker left undone is done again, unless `once`.  0, or the exit status, said;
 * then `missing` may be above 0.  End it with array_work_end() in any case. */
int array_work_do(struct array_work *work);
void array_work_end(struct array_work *work);

/* Would it be done by jobs? */
bool array_work_has_daemon(void);

/* "by jobs in pool cpu, 1.2 ms" */
void array_work_print(const struct array_work *work, char *buffer, size_t size);
void array_work_json(const struct array_work *work, json_t *object);

#endif

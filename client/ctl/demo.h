/*
 * demo.h - pyprepctl demo: a story told by real processes.
 *
 *   demo.c        the command: each story in a process of its own (aside.h), the table
 *   demo_story.c  what a story tells with: lines, live figures, results, checks, actors
 *   demo_NAME.c   one story each
 *   explain.c     pyprepctl explain: questions, each a story that ends with its answer
 *
 * To add one: a file that defines `const struct demo_row demo_NAME`, a line in DEMOS, its
 * section in docs/pyprep-ipc.7 and a test.
 *
 * A story shows behaviour, the failures too: it starts actors (processes), kills some, and says
 * what the others saw.  It ends with its figures, and beside them CPython's where python3 is.
 * Every figure is measured in this run.  demo_check() says whether what pyprep promises held; one
 * that did not makes the exit status 1.
 */
#ifndef PYPREP_CTL_DEMO_H
#define PYPREP_CTL_DEMO_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct demo; /* one story under way */

struct demo_row {
	const char *name;
	const char *summary; /* one line, small first letter */
	/* Tell it.  0; or -1 after demo_fail(). */
	int (*tell)(struct demo *demo);
};

bool demo_quick(const struct demo *demo); /* fewer rounds: a second or two */
/* A name for shared memory of this story: "LABEL.suffix"; removed at the end, whatever
 * happens.  `ret` has NAMED_MAX + 1 bytes. */
void demo_name(const struct demo *demo, const char *suffix, char *ret);
/* A directory for its files and daemons, removed at the end. */
const char *demo_directory(const struct demo *demo);

/* ---- telling ---- */

/* A chapter's title; a line of the story; nothing with --json. */
void demo_chapter(struct demo *demo, const char *format, ...) __attribute__((format(printf, 2, 3)));
void demo_say(struct demo *demo, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line that is redrawn as its figures change (on a terminal, at most 20 times a second);
 * demo_say() replaces it. */
void demo_live(struct demo *demo, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A result: into the table at the end and, under `key`, into the JSON.  `unit`: "ns", "/s",
 * "bytes", "" (a count), "x" (a ratio), "yes" (1 or 0). */
void demo_figure(struct demo *demo, const char *key, double value, const char *unit,
		 const char *what);

/* The same figure measured in CPython, into the same row; NAN: not known. */
void demo_python_figure(struct demo *demo, const char *key, double value);

/* Did what is promised hold?  Said with a mark; false makes the demo fail.  Returns `held`. */
bool demo_check(struct demo *demo, bool held, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A sentence of the answer: printed after the figures it is computed from, and in the JSON. */
void demo_conclude(struct demo *demo, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The story cannot go on (no memory, no daemon ...).  Returns -1. */
int demo_fail(struct demo *demo, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- actors ---- */

/* Fork an actor that runs `act` and exits with what it returns; it dies with the story.  Its
 * pid, or -errno.  An actor prints nothing: it leaves figures in shared memory (floor_share()). */
pid_t demo_actor(struct demo *demo, int (*act)(void *context), void *context);

/* Two actors that are to meet in one word: each moves to a CPU of its own, if there are two.
 * Else they would only meet when the scheduler takes one off in the middle. */
void demo_apart(unsigned which);

/* kill -9, and reap. */
void demo_kill(struct demo *demo, pid_t pid);

/* Wait for an actor, at most `ms`: its exit status, -SIGNAL when it was killed, -ETIMEDOUT. */
int demo_wait(struct demo *demo, pid_t pid, unsigned ms);

/* ---- CPython ---- */

/* Run a topic of cpython.h beside; the object is the caller's.  NULL when python3 is missing or
 * failed: said once, and the story goes on without. */
json_t *demo_python(struct demo *demo, const char *topic, const char *const *params);

/* A number of such an answer, NAN when it is not there; `answer` may be NULL. */
double demo_number(const json_t *answer, const char *key);

#endif

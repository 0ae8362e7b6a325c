/*
 * config_keys.h - the one table of configuration keys: section, name, type, range,
 * default and help.  The parser, the printer, "did you mean" and the test of
 * pyprepd.conf(5) all follow it.
 *
 * To add a key: a field in config.h, a row in config_keys.c, an item in the page.
 */
#ifndef PYPREP_DAEMON_CONFIG_KEYS_H
#define PYPREP_DAEMON_CONFIG_KEYS_H

#include <stddef.h>
#include <stdint.h>

enum key_section { SECTION_DAEMON, SECTION_POOL, SECTION_RESOURCE };

enum key_type {
	KEY_DURATION,  /* uint64_t, ns: 500ms, 2s, 1.5m; a bare number counts seconds */
	KEY_SIZE,      /* uint64_t, bytes: 64K, 1M, 2G; a bare number counts bytes */
	KEY_COUNT,     /* unsigned */
	KEY_COUNT64,   /* uint64_t */
	KEY_MODE,      /* unsigned, octal */
	KEY_GROUP,     /* char [64] */
	KEY_DIRECTORY, /* char [512], absolute */
	KEY_OPERATORS, /* the operators of struct config; may go on over several lines */
	KEY_YES_NO,    /* bool */
	KEY_EXECUTOR,  /* const struct executor * */
	KEY_LINK,      /* enum link_way */
	KEY_STORE,     /* const struct store_ops * */
	KEY_LOG_FORMAT, /* enum log_format */
	KEY_STRATEGY,  /* const struct strategy * */
};

struct config_key {
	enum key_section section;
	const char *name;
	enum key_type type;
	uint64_t low, high;    /* DURATION, SIZE, COUNT, MODE */
	const char *fallback;  /* the default, as in the file; NULL: worked out, see `otherwise` */
	const char *otherwise; /* the worked-out default in words */
	const char *help;      /* one line */
	size_t offset;         /* in struct config, pool_config or resource_config */
};

#define CONFIG_KEYS_MAX 64 /* room for per-key state; the table is checked against it */

extern const struct config_key config_keys[];
extern const unsigned config_key_count;

/* NULL: no such key there. */
const struct config_key *key_find(enum key_section section, const char *name);

/* Set the field of `base` (the struct of its section) from `text`.  KEY_OPERATORS
 * adds to those already there.  -EINVAL: the field is unchanged (KEY_OPERATORS: some may have
 * been added) and `expected` has the words to follow "expected ". */
int key_parse(const struct config_key *key, const char *text, void *base, char *expected,
	      size_t expected_size);

/* The field's value in the form key_parse() reads, cut to `size`. */
void key_print(const struct config_key *key, const void *base, char *buffer, size_t size);

/* "a number from 1 to 256": what key_parse() expects. */
void key_expected(const struct config_key *key, char *buffer, size_t size);

/* "1 to 256", or "" for a type without a range. */
void key_range(const struct config_key *key, char *buffer, size_t size);

/* config_text.c: the whole file as one string on the heap, the caller's to free.  0 or -errno. */
int config_text(const char *path, char **ret, size_t *ret_length, char *why, size_t why_size);

#define KEY_TEXT_MAX 1280 /* enough for the longest value: 32 operators */

#endif

/*
 * config.c - the configuration: the built-in one, a file read over it, and printed again.
 *
 * inih splits the lines; what it would let pass (long lines, repeated sections, names that
 * nobody knows) is refused here.  Its reader hook sees every line before it is split, so
 * that is where sections are noticed; its handler gets the keys.  Only the first error
 * counts, and the given configuration stays as it was.
 */
#include "daemon/config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/config_keys.h"
#include "ipc/cleanup.h"

#define POOL_EXPECTED     "expected 1 to 31 of the letters a-z, 0-9, _ and -"
#define RESOURCE_EXPECTED "expected 1 to 63 printable characters without blanks, \", =, [ and ]"
#define SECTIONS_EXPECTED "expected [daemon], [pool \"NAME\"] or [resource \"NAME\"]"

static const struct builtin_pool {
	const char *name, *executor;
} builtin_pools[] = {
	{ "cpu", "process" },
	{ "io", "event" },
	{ "threads", "thread" },
	{ "shell", "command" },
};
#define BUILTIN_POOLS (sizeof(builtin_pools) / sizeof(builtin_pools[0]))

/* One load. */
struct loader {
	struct config config; /* becomes the caller's when all is well */
	const char *path;
	char *why;
	size_t why_size;
	const char *next; /* the file's text not yet read */
	unsigned line;    /* the present line, from 1 */
	bool failed;
	bool in_section;
	bool indented; /* the present line starts with a blank: inih may join it to a key */
	enum key_section section;
	struct pool_config *pool;         /* of the present section */
	struct resource_config *resource; /* the same */
	unsigned section_line;
	unsigned daemon_line; /* of [daemon]; 0: not yet */
	unsigned pool_lines[POOLS_MAX];
	unsigned resource_lines[RESOURCES_MAX];
	unsigned key_lines[CONFIG_KEYS_MAX]; /* where the section gave the key; 0: not yet */
};

/* ---- defaults ---- */

static void
set_defaults(enum key_section section, void *base)
{
	char expected[256];

	for (unsigned i = 0; i < config_key_count; i++)
		if (config_keys[i].section == section && config_keys[i].fallback)
			key_parse(&config_keys[i], config_keys[i].fallback, base, expected,
				  sizeof(expected));
}

static unsigned
clamp(unsigned value, unsigned most)
{
	return value < most ? value : most;
}

static unsigned
default_workers(const struct executor *e)
{
	return clamp(e->workers ? e->workers : config_cpus(), WORKERS_MAX);
}

static unsigned
default_concurrency(const struct executor *e)
{
	return clamp(e->concurrency ? e->concurrency : config_cpus(), e->concurrency_max);
}

static void
default_pools(struct config *c)
{
	for (size_t i = 0; i < BUILTIN_POOLS; i++) {
		struct pool_config *p = &c->pools[c->pool_count++];
		snprintf(p->name, sizeof(p->name), "%s", builtin_pools[i].name);
		set_defaults(SECTION_POOL, p);
		p->executor = executor_by_name(builtin_pools[i].executor);
		p->workers = default_workers(p->executor);
		p->concurrency = default_concurrency(p->executor);
	}
}

static unsigned
default_mode(const struct config *c)
{
	return c->group[0] ? 0660 : 0600;
}

void
config_default(struct config *c)
{
	const struct passwd *user = getpwuid(geteuid());

	*c = (struct config){ 0 };
	set_defaults(SECTION_DAEMON, c);
	if (user && strcmp(user->pw_name, "pyprep") == 0)
		strcpy(c->group, "pyprep");
	c->socket_mode = default_mode(c);
	default_pools(c);
}

/* ---- errors ---- */

static void refuse_at(struct loader *l, unsigned line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void
refuse_at(struct loader *l, unsigned line, const char *format, ...)
{
	va_list args;

	if (l->failed)
		return;
	l->failed = true;
	int n = snprintf(l->why, l->why_size, "%s:%u: ", l->path, line);
	if (n < 0 || (size_t)n >= l->why_size)
		return;
	va_start(args, format);
	vsnprintf(l->why + n, l->why_size - (size_t)n, format, args);
	va_end(args);
}

#define refuse(l, ...) refuse_at(l, (l)->line, __VA_ARGS__)

/* `[daemon]` or `[pool "cpu"]`: the present section. */
static const char *
section_text(const struct loader *l, char *buffer, size_t size)
{
	if (l->section == SECTION_POOL)
		snprintf(buffer, size, "[pool \"%s\"]", l->pool->name);
	else if (l->section == SECTION_RESOURCE)
		snprintf(buffer, size, "[resource \"%s\"]", l->resource->name);
	else
		snprintf(buffer, size, "[daemon]");
	return buffer;
}

/* ---- sections ---- */

static unsigned
line_of(const struct loader *l, const char *name)
{
	return l->key_lines[key_find(l->section, name) - config_keys];
}

static void
refuse_no_executor(struct loader *l)
{
	char expected[256];

	key_expected(key_find(SECTION_POOL, "executor"), expected, sizeof(expected));
	refuse_at(l, l->section_line,
		  "[pool \"%s\"] has no executor; add a line \"executor = \" "
		  "with %s",
		  l->pool->name, expected);
}

/* The end of a pool's section: what was not given follows from its executor. */
static void
finish_pool(struct loader *l)
{
	struct pool_config *p = l->pool;
	unsigned line;

	if (p->executor == NULL) {
		refuse_no_executor(l);
		return;
	}
	if (!line_of(l, "workers"))
		p->workers = default_workers(p->executor);
	if (!(line = line_of(l, "concurrency")))
		p->concurrency = default_concurrency(p->executor);
	else if (p->concurrency > p->executor->concurrency_max)
		refuse_at(l, line,
			  "bad value \"%u\" for concurrency in [pool \"%s\"]: expected at most %u, "
			  "which is what executor %s allows",
			  p->concurrency, p->name, p->executor->concurrency_max, p->executor->name);
}

static void
finish_section(struct loader *l)
{
	if (!l->in_section || l->failed)
		return;
	if (l->section == SECTION_POOL)
		finish_pool(l);
	else if (l->section == SECTION_RESOURCE && !line_of(l, "limit"))
		refuse_at(l, l->section_line,
			  "[resource \"%s\"] has no limit; add a line \"limit = N\", the units "
			  "that jobs may have at once",
			  l->resource->name);
	else if (l->section == SECTION_DAEMON && !line_of(l, "socket_mode"))
		l->config.socket_mode = default_mode(&l->config);
}

static void
begin_daemon(struct loader *l)
{
	if (l->daemon_line) {
		refuse(l, "[daemon] was already given on line %u", l->daemon_line);
		return;
	}
	l->daemon_line = l->line;
	l->section = SECTION_DAEMON;
}

static bool
is_word(const char *word, const char *text, size_t length)
{
	return strlen(word) == length && strncmp(text, word, length) == 0;
}

static bool
is_pool_name(const char *name, size_t length)
{
	if (length < 1 || length > POOL_NAME_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789_-", name[i]))
			return false;
	return true;
}

/* The first pool of a file replaces the built-in ones. */
static void
begin_pool(struct loader *l, const char *name, size_t length)
{
	struct config *c = &l->config;
	unsigned known = l->pool == NULL ? 0 : c->pool_count;

	if (!is_pool_name(name, length)) {
		refuse(l, "bad pool name \"%.*s\": " POOL_EXPECTED,
		       (int)(length < 60 ? length : 60), name);
		return;
	}
	for (unsigned i = 0; i < known; i++)
		if (strlen(c->pools[i].name) == length &&
		    strncmp(c->pools[i].name, name, length) == 0) {
			refuse(l, "[pool \"%s\"] was already given on line %u", c->pools[i].name,
			       l->pool_lines[i]);
			return;
		}
	if (known == POOLS_MAX) {
		refuse(l, "more than %d pools", POOLS_MAX);
		return;
	}
	c->pool_count = known + 1;
	l->pool_lines[known] = l->line;
	l->section = SECTION_POOL;
	l->pool = &c->pools[known];
	*l->pool = (struct pool_config){ 0 };
	memcpy(l->pool->name, name, length);
	set_defaults(SECTION_POOL, l->pool);
	for (size_t i = 0; i < BUILTIN_POOLS; i++)
		if (strcmp(builtin_pools[i].name, l->pool->name) == 0)
			l->pool->executor = executor_by_name(builtin_pools[i].executor);
}

/* What --need NAME=N and a reader of `pyprepctl status` take for one word. */
static bool
is_resource_name(const char *name, size_t length)
{
	if (length < 1 || length > RESOURCE_NAME_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isgraph((unsigned char)name[i]) || strchr("\"=[]", name[i]))
			return false;
	return true;
}

static void
begin_resource(struct loader *l, const char *name, size_t length)
{
	struct config *c = &l->config;

	if (!is_resource_name(name, length)) {
		refuse(l, "bad resource name \"%.*s\": " RESOURCE_EXPECTED,
		       (int)(length < 60 ? length : 60), name);
		return;
	}
	for (unsigned i = 0; i < c->resource_count; i++)
		if (is_word(c->resources[i].name, name, length)) {
			refuse(l, "[resource \"%s\"] was already given on line %u",
			       c->resources[i].name, l->resource_lines[i]);
			return;
		}
	if (c->resource_count == RESOURCES_MAX) {
		refuse(l, "more than %d resources", RESOURCES_MAX);
		return;
	}
	l->resource_lines[c->resource_count] = l->line;
	l->section = SECTION_RESOURCE;
	l->resource = &c->resources[c->resource_count++];
	*l->resource = (struct resource_config){ 0 };
	memcpy(l->resource->name, name, length);
}

static void
refuse_section(struct loader *l, const char *name, size_t length)
{
	static const char *const sections[] = { "daemon", "pool", "resource" };
	char word[64];

	snprintf(word, sizeof(word), "%.*s", (int)strcspn(name, " \t]\""), name);
	const char *near = nearest_name(word, sections, 3);
	refuse(l, "unknown section [%.*s]; %s%s%s", (int)(length < 60 ? length : 60), name,
	       near ? "did you mean [" : SECTIONS_EXPECTED, near ? near : "",
	       !near                         ? ""
	       : strcmp(near, "daemon") == 0 ? "]?"
					     : " \"NAME\"]?");
}

/* Is this `WORD "NAME"`?  Then *ret and *ret_length are NAME. */
static bool
is_named(const char *word, const char *text, size_t length, const char **ret, size_t *ret_length)
{
	size_t begin = strlen(word);

	if (length < begin + 3 || !is_word(word, text, begin))
		return false;
	size_t blanks = strspn(text + begin, " \t");
	begin += blanks + 1;
	if (blanks == 0 || begin >= length || text[begin - 1] != '"' || text[length - 1] != '"')
		return false;
	*ret = text + begin;
	*ret_length = length - begin - 1;
	return true;
}

/* A line that starts with "[". */
static void
begin_section(struct loader *l, const char *at, const char *end)
{
	const char *close = memchr(at, ']', (size_t)(end - at));

	finish_section(l);
	memset(l->key_lines, 0, sizeof(l->key_lines));
	l->section_line = l->line;
	l->in_section = true;
	if (close == NULL) {
		refuse(l, "the section's name has no end; " SECTIONS_EXPECTED);
		return;
	}
	const char *rest = close + 1 + strspn(close + 1, " \t\r");
	if (rest < end && *rest != ';' && *rest != '#') {
		refuse(l, "text after the section's name: \"%.*s\"; expected the end of the line",
		       (int)(end - rest < 60 ? end - rest : 60), rest);
		return;
	}
	const char *text = at + 1, *name;
	size_t length = (size_t)(close - text), name_length;
	if (is_word("daemon", text, length))
		begin_daemon(l);
	else if (is_named("pool", text, length, &name, &name_length))
		begin_pool(l, name, name_length);
	else if (is_named("resource", text, length, &name, &name_length))
		begin_resource(l, name, name_length);
	else
		refuse_section(l, text, length);
}

/* ---- inih's hooks ---- */

/* The next line, as fgets() gives it.  NULL ends the parse, also after an error. */
static char *
read_line(char *to, int size, void *stream)
{
	struct loader *l = stream;

	if (l->failed || *l->next == '\0')
		return NULL;
	const char *start = l->next;
	size_t length = strcspn(start, "\n");
	l->next = start + length + (start[length] == '\n');
	l->line++;
	if (length + 3 > (size_t)size) {
		refuse(l, "the line is %zu bytes long; expected at most %d", length, size - 3);
		return NULL;
	}
	size_t blanks = strspn(start, " \t\r");
	l->indented = blanks > 0;
	if (start[blanks] == '[') {
		begin_section(l, start + blanks, start + length);
		if (l->failed)
			return NULL;
		start += blanks; /* an indented section is one, not the last key's next line */
		length -= blanks;
	}
	memcpy(to, start, length);
	memcpy(to + length, "\n", 2);
	return to;
}

static void
refuse_key(struct loader *l, const char *name)
{
	static const char *const sections[] = { "[daemon]", "[pool \"NAME\"]",
						"[resource \"NAME\"]" };
	const char *names[CONFIG_KEYS_MAX];
	char section[RESOURCE_NAME_MAX + 16];
	size_t count = 0;

	section_text(l, section, sizeof(section));
	for (unsigned other = 0; other < sizeof(sections) / sizeof(sections[0]); other++)
		if (key_find((enum key_section)other, name)) {
			refuse(l, "unknown key \"%s\" in %s; it belongs in %s", name, section,
			       sections[other]);
			return;
		}
	for (unsigned i = 0; i < config_key_count; i++)
		if (config_keys[i].section == l->section)
			names[count++] = config_keys[i].name;
	const char *near = nearest_name(name, names, count);
	if (near)
		refuse(l, "unknown key \"%.60s\" in %s; did you mean \"%s\"?", name, section, near);
	else
		refuse(l, "unknown key \"%.60s\" in %s; pyprepd.conf(5) lists them", name, section);
}

static void
take_key(struct loader *l, const char *name, const char *value)
{
	const struct config_key *key = key_find(l->section, name);
	void *const bases[] = { &l->config, l->pool, l->resource };
	void *base = bases[l->section];
	char section[RESOURCE_NAME_MAX + 16], expected[320];

	section_text(l, section, sizeof(section));
	if (key == NULL) {
		refuse_key(l, name);
		return;
	}
	unsigned *given = &l->key_lines[key - config_keys];
	bool goes_on = *given && l->indented;
	if (goes_on && key->type != KEY_OPERATORS) {
		refuse(l,
		       "the line is indented and so would go on with \"%s\" of line %u, which "
		       "takes one line; remove the blanks at its start",
		       name, *given);
		return;
	}
	if (*given && !goes_on) {
		refuse(l, "key \"%s\" in %s was already given on line %u", name, section, *given);
		return;
	}
	if (!*given)
		*given = l->line;
	if (key->type == KEY_OPERATORS && !goes_on)
		l->config.operator_count = 0;
	if (key_parse(key, value, base, expected, sizeof(expected)) < 0)
		refuse(l, "bad value \"%.60s\" for %s in %s: expected %s", value, name, section,
		       expected);
}

static int
handle_key(void *user, const char *section, const char *name, const char *value)
{
	struct loader *l = user;

	(void)section; /* cut to 49 bytes by inih: ours is in the loader */
	if (l->failed)
		return 0;
	if (!l->in_section)
		refuse(l, "key \"%.60s\" before the first section; " SECTIONS_EXPECTED, name);
	else
		take_key(l, name, value);
	return !l->failed;
}

/* ---- the file ---- */

/* Control characters mean that this is no text, and would spoil the messages. */
static bool
check_text(struct loader *l, const char *text, size_t length)
{
	unsigned line = 1;

	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '\n')
			line++;
		else if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f) {
			refuse_at(l, line, "byte 0x%02x is not text; expected a configuration file",
				  c);
			return false;
		}
	}
	return true;
}

/* What inih could not split. */
static void
refuse_syntax(struct loader *l, const char *text, unsigned line)
{
	for (unsigned i = 1; i < line; i++)
		text = strchr(text, '\n') + 1;
	text += strspn(text, " \t\r");
	size_t length = strcspn(text, "\r\n");
	refuse_at(l, line, "cannot make sense of \"%.*s\"; expected KEY = VALUE or a section",
		  (int)(length < 60 ? length : 60), text);
}

static void
parse_text(struct loader *l, const char *text)
{
	l->next = text;
	if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
		l->next += 3; /* an editor's byte order mark */
	int r = ini_parse_stream(read_line, l, handle_key, l);
	/* inih goes on after a line it cannot split: such a line comes first if it lies before
	 * the one that was refused here. */
	if (r > 0 && (!l->failed || (unsigned)r < l->line)) {
		l->failed = false;
		refuse_syntax(l, text, (unsigned)r);
	} else if (r < 0) {
		refuse_at(l, l->line, "no memory to read on");
	}
	finish_section(l);
}

int
config_load(struct config *c, const char *path, char *why, size_t why_size)
{
	struct loader l = { .config = *c, .path = path, .why = why, .why_size = why_size };
	scoped_free char *text = NULL;
	size_t length = 0;

	int r = config_text(path, &text, &length, why, why_size);
	if (r < 0 || text == NULL)
		return r;
	if (check_text(&l, text, length))
		parse_text(&l, text);
	if (l.failed)
		return -EINVAL;
	*c = l.config;
	return 0;
}

/* ---- printing ---- */

static void
print_section(enum key_section section, const void *base, FILE *out)
{
	char value[KEY_TEXT_MAX];

	for (unsigned i = 0; i < config_key_count; i++) {
		if (config_keys[i].section != section)
			continue;
		key_print(&config_keys[i], base, value, sizeof(value));
		fprintf(out, "%s =%s%s\n", config_keys[i].name, *value ? " " : "", value);
	}
}

void
config_print(const struct config *c, FILE *out)
{
	fprintf(out, "[daemon]\n");
	print_section(SECTION_DAEMON, c, out);
	for (unsigned i = 0; i < c->pool_count; i++) {
		fprintf(out, "\n[pool \"%s\"]\n", c->pools[i].name);
		print_section(SECTION_POOL, &c->pools[i], out);
	}
	for (unsigned i = 0; i < c->resource_count; i++) {
		fprintf(out, "\n[resource \"%s\"]\n", c->resources[i].name);
		print_section(SECTION_RESOURCE, &c->resources[i], out);
	}
}

/*
 * config_keys.c - the table of configuration keys, and how a value of each type is read
 * and written.  Nothing here keeps state.
 */
#include "daemon/config_keys.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/config.h"
#include "daemon/store.h"
#include "ipc/clock.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

#define HOUR_NS        (3600 * NS_PER_S)
#define DAEMON(f)      SECTION_DAEMON, #f
#define DAEMON_AT(f)   offsetof(struct config, f)
#define POOL(f)        SECTION_POOL, #f
#define POOL_AT(f)     offsetof(struct pool_config, f)
#define RESOURCE(f)    SECTION_RESOURCE, #f
#define RESOURCE_AT(f) offsetof(struct resource_config, f)

/* clang-format off */
const struct config_key config_keys[] = {
	/* section and name       type           low         high        default  worked out
	 *   help
	 *   field */
	{ DAEMON(drain_deadline), KEY_DURATION,  0,          24 * HOUR_NS, "30s", NULL,
	  "after SIGTERM, how long running jobs may go on",
	  DAEMON_AT(drain_deadline_ns) },
	{ DAEMON(orphan_grace),   KEY_DURATION,  0,          24 * HOUR_NS, "30s", NULL,
	  "how long jobs of a lost broker may run before their worker is killed",
	  DAEMON_AT(orphan_grace_ns) },
	{ DAEMON(max_clients),    KEY_COUNT,     1,          65536,      "256",   NULL,
	  "clients connected at once",
	  DAEMON_AT(max_clients) },
	{ DAEMON(max_jobs),       KEY_COUNT64,   1,          100000000,  "1200000", NULL,
	  "jobs in the table, of all clients",
	  DAEMON_AT(max_jobs) },
	{ DAEMON(max_job_bytes),  KEY_SIZE,      64 * KIB,   TIB,        "512M",  NULL,
	  "parameters in the table, of all jobs",
	  DAEMON_AT(max_job_bytes) },
	{ DAEMON(max_client_jobs), KEY_COUNT64,  1,          100000000,  "1048576", NULL,
	  "jobs in the table, of one client",
	  DAEMON_AT(max_client_jobs) },
	{ DAEMON(socket_mode),    KEY_MODE,      0600,       0777,       NULL,
	  "0660 with a group, else 0600",
	  "mode of the client socket",
	  DAEMON_AT(socket_mode) },
	{ DAEMON(group),          KEY_GROUP,     0,          0,          NULL,
	  "pyprep when the daemon runs as user pyprep, else none",
	  "group whose members may submit jobs",
	  DAEMON_AT(group) },
	{ DAEMON(operators),      KEY_OPERATORS, 0,          0,          "",      NULL,
	  "users who may do everything",
	  DAEMON_AT(operators) },
	{ DAEMON(drop_to_client), KEY_YES_NO,    0,          0,          "no",    NULL,
	  "a daemon that runs as root runs commands of other users as them",
	  DAEMON_AT(drop_to_client) },
	{ DAEMON(cgroups),        KEY_YES_NO,    0,          0,          "yes",   NULL,
	  "limit the memory of commands by cgroups, where the daemon has one of its own",
	  DAEMON_AT(cgroups) },
	{ DAEMON(scratch_dir),    KEY_DIRECTORY, 0,          0,          NULL,
	  "scratch in the runtime directory",
	  "where jobs' private directories are made",
	  DAEMON_AT(scratch_dir) },
	{ DAEMON(zmq_lane),       KEY_YES_NO,    0,          0,          "no",    NULL,
	  "clients may also come through ZeroMQ, at lane.sock in the runtime directory",
	  DAEMON_AT(zmq_lane) },
	{ DAEMON(zmq_idle),       KEY_DURATION,  10 * NS_PER_MS, 24 * HOUR_NS, "60s", NULL,
	  "silence after which a ZeroMQ client that names no process is let go",
	  DAEMON_AT(zmq_idle_ns) },
	{ DAEMON(store),          KEY_STORE,     0,          0,          "sqlite", NULL,
	  "where detached jobs and history are kept",
	  DAEMON_AT(store) },
	{ DAEMON(store_keep),     KEY_DURATION,  0,          87600 * HOUR_NS, "168h", NULL,
	  "how long ended jobs stay in the store; 0: no limit",
	  DAEMON_AT(store_keep_ns) },
	{ DAEMON(store_bytes),    KEY_SIZE,      0,          TIB,        "1G",    NULL,
	  "size of the store above which the oldest ended jobs go; 0: no limit",
	  DAEMON_AT(store_bytes) },
	{ DAEMON(log_format),     KEY_LOG_FORMAT, 0,         0,          "auto",  NULL,
	  "the form of the daemon's own lines",
	  DAEMON_AT(log_format) },

	{ DAEMON(cache_entries),  KEY_COUNT64,   0,          10000000,   "4096",  NULL,
	  "results kept for jobs with --cache; 0: none",
	  DAEMON_AT(cache_entries) },
	{ DAEMON(cache_bytes),    KEY_SIZE,      64 * KIB,   TIB,        "64M",   NULL,
	  "memory of the results that are kept, with their parameters and output",
	  DAEMON_AT(cache_bytes) },

	{ POOL(executor),         KEY_EXECUTOR,  0,          0,          NULL,
	  "must be given, but for the built-in pools",
	  "how its workers run jobs",
	  POOL_AT(executor) },
	{ POOL(workers),          KEY_COUNT,     1,          WORKERS_MAX, NULL,
	  "by executor",
	  "number of worker processes",
	  POOL_AT(workers) },
	{ POOL(concurrency),      KEY_COUNT,     1,          LINK_TICKETS, NULL,
	  "by executor",
	  "jobs at once in each worker",
	  POOL_AT(concurrency) },
	{ POOL(link),             KEY_LINK,      0,          0,          "ring",  NULL,
	  "how jobs travel to its workers and results back",
	  POOL_AT(link) },
	{ POOL(grace),            KEY_DURATION,  0,          HOUR_NS,    "2s",    NULL,
	  "from SIGTERM to SIGKILL when a command is ended",
	  POOL_AT(grace_ns) },
	{ POOL(output_cap),       KEY_SIZE,      0,          GIB,        "1M",    NULL,
	  "bytes of stdout and of stderr kept per command",
	  POOL_AT(output_cap) },
	{ POOL(address_space),    KEY_SIZE,      64 * MIB,   64 * TIB,   "0",     NULL,
	  "RLIMIT_AS of each worker; 0: no limit",
	  POOL_AT(address_space) },
	{ POOL(bind),             KEY_YES_NO,    0,          0,          "yes",   NULL,
	  "bind each worker of a process or command pool to a CPU of its own, if there are enough",
	  POOL_AT(bind) },
	{ POOL(strategy),         KEY_STRATEGY,  0,          0,          "priority", NULL,
	  "which of the jobs that wait is next",
	  POOL_AT(strategy) },
	{ POOL(ageing),           KEY_DURATION,  0,          24 * HOUR_NS, "1m",  NULL,
	  "a job that has waited for so long counts as one priority higher; 0: it never does",
	  POOL_AT(ageing_ns) },
	{ POOL(recycle_jobs),     KEY_COUNT64,   0,          UINT64_C(1000000000000), "0", NULL,
	  "replace each worker after so many jobs; 0: never",
	  POOL_AT(recycle_jobs) },
	{ POOL(recycle_growth),   KEY_SIZE,      MIB,        64 * TIB,   "0",     NULL,
	  "replace a worker whose memory has grown by so much; 0: never",
	  POOL_AT(recycle_growth) },
	{ POOL(restart_max),      KEY_COUNT,     1,          1000,       "5",     NULL,
	  "worker deaths within restart_window that a pool survives",
	  POOL_AT(restart_max) },
	{ POOL(restart_window),   KEY_DURATION,  NS_PER_S,   24 * HOUR_NS, "10s", NULL,
	  "more than restart_max worker deaths within it, and the pool has failed",
	  POOL_AT(restart_window_ns) },

	{ RESOURCE(limit),        KEY_COUNT64,   1,          1000000000, NULL,
	  "must be given",
	  "units that jobs may have at once (--need NAME=N)",
	  RESOURCE_AT(limit) },
};
/* clang-format on */
const unsigned config_key_count = sizeof(config_keys) / sizeof(config_keys[0]);
_Static_assert(sizeof(config_keys) / sizeof(config_keys[0]) <= CONFIG_KEYS_MAX,
	       "raise CONFIG_KEYS_MAX");

/* A unit of a duration or a size; each list goes from large to small. */
struct unit {
	const char *name;
	uint64_t factor;
};
static const struct unit duration_units[] = {
	{ "h", HOUR_NS },    { "m", 60 * NS_PER_S }, { "s", NS_PER_S },
	{ "ms", NS_PER_MS }, { "us", NS_PER_US },    { "ns", 1 },
};
static const struct unit size_units[] = {
	{ "T", TIB }, { "G", GIB }, { "M", MIB }, { "K", KIB }, { "", 1 },
};
#define DURATION_UNITS (sizeof(duration_units) / sizeof(duration_units[0]))
#define SIZE_UNITS     (sizeof(size_units) / sizeof(size_units[0]))

const struct config_key *
key_find(enum key_section section, const char *name)
{
	for (unsigned i = 0; i < config_key_count; i++)
		if (config_keys[i].section == section && strcmp(config_keys[i].name, name) == 0)
			return &config_keys[i];
	return NULL;
}

/* Digits, and with `fraction` a point and more digits; times the unit that follows them, or
 * `bare` when none does.  Anything above 64 bits is -ERANGE. */
static int
parse_scaled(const char *text, const struct unit *units, size_t unit_count, uint64_t bare,
	     bool fraction, uint64_t *ret)
{
	unsigned __int128 whole = 0, part = 0, scale = 1;
	const char *at = text;

	for (; isdigit((unsigned char)*at); at++)
		if ((whole = whole * 10 + (unsigned)(*at - '0')) > UINT64_MAX)
			return -ERANGE;
	if (at == text)
		return -EINVAL;
	if (fraction && *at == '.' && isdigit((unsigned char)at[1]))
		for (at++; isdigit((unsigned char)*at); at++)
			if (scale < 1000000000) { /* finer than that is below 1 ns anyway */
				part = part * 10 + (unsigned)(*at - '0');
				scale *= 10;
			}

	uint64_t factor = *at == '\0' ? bare : 0;
	for (size_t i = 0; factor == 0 && i < unit_count; i++)
		if (strcasecmp(at, units[i].name) == 0)
			factor = units[i].factor;
	if (factor == 0)
		return -EINVAL;
	unsigned __int128 value = whole * factor + part * factor / scale;
	if (value > UINT64_MAX)
		return -ERANGE;
	*ret = (uint64_t)value;
	return 0;
}

/* The value in the largest unit that holds it exactly. */
static void
print_scaled(uint64_t value, const struct unit *units, size_t unit_count, const char *zero,
	     char *buffer, size_t size)
{
	size_t i = 0;

	if (value == 0) {
		snprintf(buffer, size, "%s", zero);
		return;
	}
	while (i < unit_count - 1 && value % units[i].factor != 0)
		i++;
	snprintf(buffer, size, "%ju%s", (uintmax_t)(value / units[i].factor), units[i].name);
}

static int
parse_octal(const char *text, uint64_t *ret)
{
	uint64_t value = 0;
	size_t length = strlen(text);

	if (length == 0 || length > 6 || strspn(text, "01234567") != length)
		return -EINVAL;
	for (; *text != '\0'; text++)
		value = value * 8 + (unsigned)(*text - '0');
	*ret = value;
	return 0;
}

/* One number of `key`, as the file and the range write it. */
static void
print_number(const struct config_key *key, uint64_t value, char *buffer, size_t size)
{
	switch (key->type) {
	case KEY_DURATION:
		print_scaled(value, duration_units, DURATION_UNITS, "0s", buffer, size);
		break;
	case KEY_SIZE:
		print_scaled(value, size_units, SIZE_UNITS, "0", buffer, size);
		break;
	case KEY_MODE:
		snprintf(buffer, size, "%04jo", (uintmax_t)value);
		break;
	default:
		snprintf(buffer, size, "%ju", (uintmax_t)value);
	}
}

static int
parse_number(const struct config_key *key, const char *text, void *field)
{
	/* A size of 0 stands for "none" where its default is 0. */
	bool zero = key->type == KEY_SIZE && key->fallback && strcmp(key->fallback, "0") == 0;
	uint64_t value = 0;
	int r;

	if (key->type == KEY_DURATION)
		r = parse_scaled(text, duration_units, DURATION_UNITS, NS_PER_S, true, &value);
	else if (key->type == KEY_SIZE)
		r = parse_scaled(text, size_units, SIZE_UNITS, 1, false, &value);
	else if (key->type == KEY_MODE)
		r = parse_octal(text, &value);
	else
		r = parse_scaled(text, NULL, 0, 1, false, &value);
	if (r < 0)
		return -EINVAL;
	if ((value < key->low || value > key->high) && !(zero && value == 0))
		return -EINVAL;
	if (key->type == KEY_COUNT || key->type == KEY_MODE)
		*(unsigned *)field = (unsigned)value;
	else
		*(uint64_t *)field = value;
	return 0;
}

/* A user or group name as useradd(8) takes it, and as directories extend it (dots, capitals,
 * domain separators); nothing that could be taken for syntax. */
static bool
is_account_name(const char *name, size_t length)
{
	if (length == 0 || name[0] == '-')
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("_.-@+$", name[i]))
			return false;
	return true;
}

static int
parse_operators(const char *text, struct config *c)
{
	while (*(text += strspn(text, ", \t")) != '\0') {
		size_t length = strcspn(text, ", \t");
		if (length >= sizeof(c->operators[0]) || !is_account_name(text, length) ||
		    c->operator_count >= OPERATORS_MAX)
			return -EINVAL;
		char *to = c->operators[c->operator_count++];
		memcpy(to, text, length);
		to[length] = '\0';
		text += length;
	}
	return 0;
}

static int
parse_group(const char *text, char *field)
{
	size_t length = strlen(text);

	if (length >= sizeof(((struct config *)0)->group) ||
	    (length > 0 && !is_account_name(text, length)))
		return -EINVAL;
	memcpy(field, text, length + 1);
	return 0;
}

static int
parse_directory(const char *text, char *field)
{
	size_t length = strlen(text);

	if (length >= sizeof(((struct config *)0)->scratch_dir) || (length > 0 && text[0] != '/'))
		return -EINVAL;
	memcpy(field, text, length + 1);
	return 0;
}

static int
parse_executor(const char *text, const struct executor **field)
{
	const struct executor *e = executor_by_name(text);

	if (e == NULL)
		return -EINVAL;
	*field = e;
	return 0;
}

static int
parse_store(const char *text, const struct store_ops **field)
{
	const struct store_ops *engine = store_engine_by_name(text);

	if (engine == NULL)
		return -EINVAL;
	*field = engine;
	return 0;
}

static int
parse_link(const char *text, enum link_way *field)
{
	return link_way_by_name(text, field) ? 0 : -EINVAL;
}

static int
parse_log_format(const char *text, enum log_format *field)
{
	return log_format_by_name(text, field) ? 0 : -EINVAL;
}

static int
parse_strategy(const char *text, const struct strategy **field)
{
	const struct strategy *s = strategy_by_name(text);

	if (s == NULL)
		return -EINVAL;
	*field = s;
	return 0;
}

static int
parse_yes_no(const char *text, bool *field)
{
	if (strcasecmp(text, "yes") != 0 && strcasecmp(text, "no") != 0)
		return -EINVAL;
	*field = strcasecmp(text, "yes") == 0;
	return 0;
}

/* The names that a value of one of the types with names can have; how many. */
#define NAMES_MAX 16
static size_t
names_of(enum key_type type, const char **names)
{
	size_t count = 0;

	if (type == KEY_EXECUTOR)
		for (; count < executor_count && count < NAMES_MAX; count++)
			names[count] = executors[count].name;
	else if (type == KEY_LINK)
		for (; count < LINK_WAY_COUNT && count < NAMES_MAX; count++)
			names[count] = link_rows[count].name;
	else if (type == KEY_STORE)
		for (; count < NAMES_MAX && store_engines[count] != NULL; count++)
			names[count] = store_engines[count]->name;
	else if (type == KEY_LOG_FORMAT)
		for (; count < LOG_FORMAT_COUNT && count < NAMES_MAX; count++)
			names[count] = log_format_names[count];
	else if (type == KEY_STRATEGY)
		for (; count < NAMES_MAX && strategies[count] != NULL; count++)
			names[count] = strategies[count]->name;
	return count;
}

/* "; did you mean "process"?" after the words of a name that is not one. */
static void
suggest_name(enum key_type type, const char *text, char *expected, size_t size)
{
	const char *names[NAMES_MAX];
	size_t count = names_of(type, names), used = strlen(expected);
	const char *near = nearest_name(text, names, count);
	if (near)
		snprintf(expected + used, size - used, "; did you mean \"%s\"?", near);
}

int
key_parse(const struct config_key *key, const char *text, void *base, char *expected,
	  size_t expected_size)
{
	void *field = (char *)base + key->offset;
	int r;

	switch (key->type) {
	case KEY_GROUP:
		r = parse_group(text, field);
		break;
	case KEY_DIRECTORY:
		r = parse_directory(text, field);
		break;
	case KEY_OPERATORS:
		r = parse_operators(text, base);
		break;
	case KEY_YES_NO:
		r = parse_yes_no(text, field);
		break;
	case KEY_EXECUTOR:
		r = parse_executor(text, field);
		break;
	case KEY_LINK:
		r = parse_link(text, field);
		break;
	case KEY_STORE:
		r = parse_store(text, field);
		break;
	case KEY_LOG_FORMAT:
		r = parse_log_format(text, field);
		break;
	case KEY_STRATEGY:
		r = parse_strategy(text, field);
		break;
	default:
		r = parse_number(key, text, field);
	}
	if (r < 0) {
		key_expected(key, expected, expected_size);
		suggest_name(key->type, text, expected, expected_size);
	}
	return r;
}

/* "alice, bob", with a new indented line before it gets too long for one. */
static void
print_operators(const struct config *c, char *buffer, size_t size)
{
	size_t used = 0, line = 0;

	for (unsigned i = 0; i < c->operator_count && used < size; i++) {
		const char *before = i == 0 ? "" : line > 80 ? ",\n\t" : ", ";
		int n = snprintf(buffer + used, size - used, "%s%s", before, c->operators[i]);
		used += (size_t)n;
		line = line > 80 ? strlen(c->operators[i]) : line + (size_t)n;
	}
}

void
key_print(const struct config_key *key, const void *base, char *buffer, size_t size)
{
	const void *field = (const char *)base + key->offset;

	buffer[0] = '\0';
	switch (key->type) {
	case KEY_GROUP:
	case KEY_DIRECTORY:
		snprintf(buffer, size, "%s", (const char *)field);
		break;
	case KEY_OPERATORS:
		print_operators(base, buffer, size);
		break;
	case KEY_YES_NO:
		snprintf(buffer, size, "%s", *(const bool *)field ? "yes" : "no");
		break;
	case KEY_EXECUTOR:
		snprintf(buffer, size, "%s", (*(const struct executor *const *)field)->name);
		break;
	case KEY_STORE:
		snprintf(buffer, size, "%s", (*(const struct store_ops *const *)field)->name);
		break;
	case KEY_LINK:
		snprintf(buffer, size, "%s", link_rows[*(const enum link_way *)field].name);
		break;
	case KEY_LOG_FORMAT:
		snprintf(buffer, size, "%s", log_format_names[*(const enum log_format *)field]);
		break;
	case KEY_STRATEGY:
		snprintf(buffer, size, "%s", (*(const struct strategy *const *)field)->name);
		break;
	case KEY_COUNT:
	case KEY_MODE:
		print_number(key, *(const unsigned *)field, buffer, size);
		break;
	default:
		print_number(key, *(const uint64_t *)field, buffer, size);
	}
}

void
key_range(const struct config_key *key, char *buffer, size_t size)
{
	char low[32], high[32];

	buffer[0] = '\0';
	if (key->high == 0)
		return;
	print_number(key, key->low, low, sizeof(low));
	print_number(key, key->high, high, sizeof(high));
	snprintf(buffer, size, "%s to %s", low, high);
}

void
key_expected(const struct config_key *key, char *buffer, size_t size)
{
	char range[80];
	const char *names[NAMES_MAX];
	size_t used = 0, count;

	key_range(key, range, sizeof(range));
	switch (key->type) {
	case KEY_DURATION:
		snprintf(buffer, size, "a duration from %s, such as 500ms, 2s or 1m", range);
		break;
	case KEY_SIZE:
		snprintf(buffer, size, "%sa size from %s, such as 64K, 1M or 2G",
			 key->low > 0 && strcmp(key->fallback, "0") == 0 ? "0 or " : "", range);
		break;
	case KEY_MODE:
		snprintf(buffer, size, "an octal mode from %s", range);
		break;
	case KEY_GROUP:
		snprintf(buffer, size, "a group name of at most 63 bytes, or nothing");
		break;
	case KEY_DIRECTORY:
		snprintf(buffer, size, "an absolute path of at most 511 bytes, or nothing");
		break;
	case KEY_OPERATORS:
		snprintf(buffer, size,
			 "at most %d user names of at most 31 bytes, separated by commas",
			 OPERATORS_MAX);
		break;
	case KEY_YES_NO:
		snprintf(buffer, size, "yes or no");
		break;
	case KEY_EXECUTOR:
	case KEY_LINK:
	case KEY_STORE:
	case KEY_LOG_FORMAT:
	case KEY_STRATEGY:
		count = names_of(key->type, names);
		for (size_t i = 0; i < count && used < size; i++)
			used += (size_t)snprintf(buffer + used, size - used, "%s%s",
						 i == 0 ? "one of " : ", ", names[i]);
		break;
	default:
		snprintf(buffer, size, "a number from %s", range);
	}
}

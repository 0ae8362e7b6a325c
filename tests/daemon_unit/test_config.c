/* test_config.c - the configuration file: what is read, what is refused with which words. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/config_keys.h"
#include "tests/helpers.h"

static char directory[128];
static char path[256];
static char why[512];
static struct config config;

static void
setup(void)
{
	test_dir_make(directory, sizeof(directory));
	config_default(&config);
	why[0] = '\0';
}

static void
teardown(void)
{
	test_dir_remove(directory);
}

TestSuite(config, .init = setup, .fini = teardown, .timeout = 600);

static int
load(const char *text)
{
	test_write_file(directory, "c", text, path, sizeof(path));
	return config_load(&config, path, why, sizeof(why));
}

static const struct pool_config *
pool(const char *name)
{
	for (unsigned i = 0; i < config.pool_count; i++)
		if (strcmp(config.pools[i].name, name) == 0)
			return &config.pools[i];
	cr_assert_fail("no pool %s", name);
	return NULL;
}

Test(config, defaults_are_those_of_the_page)
{
	unsigned cpus = config_cpus();

	cr_assert_eq(config.drain_deadline_ns, 30000000000ull);
	cr_assert_eq(config.orphan_grace_ns, 30000000000ull);
	cr_assert_eq(config.max_clients, 256u);
	cr_assert_eq(config.max_jobs, 1200000u);
	cr_assert_eq(config.max_job_bytes, 512u << 20);
	cr_assert_eq(config.max_client_jobs, 1048576u);
	cr_assert_eq(config.operator_count, 0u);
	cr_assert_not(config.drop_to_client);
	cr_assert_not(config.zmq_lane);
	cr_assert_eq(config.zmq_idle_ns, UINT64_C(60000000000));
	cr_assert_eq(config.socket_mode, config.group[0] ? 0660u : 0600u);
	cr_assert_eq(config.pool_count, 4u);
	cr_assert_eq(pool("cpu")->workers, cpus < WORKERS_MAX ? cpus : WORKERS_MAX);
	cr_assert_eq(pool("cpu")->concurrency, 1u);
	cr_assert_eq(pool("io")->workers, 1u);
	cr_assert_eq(pool("io")->concurrency, 1024u);
	cr_assert_eq(pool("threads")->workers, 1u);
	cr_assert_eq(pool("threads")->concurrency, cpus < 256 ? cpus : 256);
	cr_assert_str_eq(pool("shell")->executor->name, "command");
	cr_assert_eq(pool("shell")->grace_ns, 2000000000ull);
	cr_assert_eq(pool("shell")->output_cap, 1u << 20);
	cr_assert_eq(pool("shell")->address_space, 0u);
	cr_assert_eq(pool("shell")->restart_max, 5u);
	cr_assert_eq(pool("shell")->restart_window_ns, 10000000000ull);
}

Test(config, every_key_is_read)
{
	cr_assert_eq(load("# a comment\n"
			  "[daemon]\n"
			  "drain_deadline = 1.5s ; one and a half\n"
			  "orphan_grace=500ms\n"
			  "max_clients: 7\n"
			  "max_jobs = 9\n"
			  "max_job_bytes = 2G\n"
			  "max_client_jobs = 8\n"
			  "socket_mode = 0666\n"
			  "group = staff\n"
			  "operators = alice, bob,\n"
			  "    carol dave\n"
			  "drop_to_client = yes\n"
			  "[pool \"a-1_b\"]\n"
			  "workers = 3\n"
			  "concurrency = 12\n"
			  "executor = event\n"
			  "grace = 1m\n"
			  "output_cap = 64k\n"
			  "address_space = 1T\n"
			  "restart_max = 2\n"
			  "restart_window = 20"),
		     0, "%s", why);
	cr_assert_eq(config.drain_deadline_ns, 1500000000ull);
	cr_assert_eq(config.orphan_grace_ns, 500000000ull);
	cr_assert_eq(config.max_clients, 7u);
	cr_assert_eq(config.max_jobs, 9u);
	cr_assert_eq(config.max_job_bytes, 2ull << 30);
	cr_assert_eq(config.max_client_jobs, 8u);
	cr_assert_eq(config.socket_mode, 0666u);
	cr_assert_str_eq(config.group, "staff");
	cr_assert_eq(config.operator_count, 4u);
	cr_assert_str_eq(config.operators[0], "alice");
	cr_assert_str_eq(config.operators[3], "dave");
	cr_assert(config.drop_to_client);
	cr_assert_eq(config.pool_count, 1u);
	const struct pool_config *p = pool("a-1_b");
	cr_assert_eq(p->workers, 3u);
	cr_assert_eq(p->concurrency, 12u);
	cr_assert_str_eq(p->executor->name, "event");
	cr_assert_eq(p->grace_ns, 60000000000ull);
	cr_assert_eq(p->output_cap, 65536u);
	cr_assert_eq(p->address_space, 1ull << 40);
	cr_assert_eq(p->restart_max, 2u);
	cr_assert_eq(p->restart_window_ns, 20000000000ull);
}

Test(config, a_file_without_pools_keeps_the_built_in_ones)
{
	cr_assert_eq(load("[daemon]\nmax_jobs = 5\n"), 0, "%s", why);
	cr_assert_eq(config.pool_count, 4u);
	cr_assert_eq(load(""), 0, "%s", why);
	cr_assert_eq(config.pool_count, 4u);
}

Test(config, a_built_in_name_needs_no_executor)
{
	cr_assert_eq(load("[pool \"io\"]\n[pool \"cpu\"]\nworkers = 3\n"), 0, "%s", why);
	cr_assert_eq(config.pool_count, 2u);
	cr_assert_str_eq(config.pools[0].name, "io");
	cr_assert_eq(config.pools[0].concurrency, 1024u);
	cr_assert_eq(config.pools[1].workers, 3u);
}

Test(config, another_executor_brings_its_own_defaults)
{
	cr_assert_eq(load("[pool \"cpu\"]\nexecutor = event\n"), 0, "%s", why);
	cr_assert_eq(pool("cpu")->workers, 1u);
	cr_assert_eq(pool("cpu")->concurrency, 1024u);
}

Test(config, a_group_opens_the_socket_to_it)
{
	cr_assert_eq(load("[daemon]\ngroup = staff\n"), 0, "%s", why);
	cr_assert_eq(config.socket_mode, 0660u);
	cr_assert_eq(load("[daemon]\ngroup =\n"), 0, "%s", why);
	cr_assert_eq(config.socket_mode, 0600u);
}

Test(config, byte_order_mark_windows_lines_and_indented_sections_are_read)
{
	cr_assert_eq(load("\xef\xbb\xbf[daemon]\r\nmax_jobs = 5\r\n\r\n"
			  "  [pool \"x\"]  ; mine\r\nexecutor = process\r\n"),
		     0, "%s", why);
	cr_assert_eq(config.max_jobs, 5u);
	cr_assert_str_eq(config.pools[0].name, "x");
}

#define P                 "[pool \"p\"]\nexecutor = process\n"
#define R                 "[resource \"db\"]\n"
#define RESOURCE_EXPECTED "expected 1 to 63 printable characters without blanks, \", =, [ and ]"
#define DURATION_0_24H    "expected a duration from 0s to 24h, such as 500ms, 2s or 1m"

static const struct bad {
	const char *text;
	const char *message; /* after "FILE:" */
} bad_files[] = {
	/* sections */
	{ "[deamon]\n", "1: unknown section [deamon]; did you mean [daemon]?" },
	{ "[server]\n", "1: unknown section [server]; expected [daemon], [pool \"NAME\"] or "
			"[resource \"NAME\"]" },
	{ "[pools \"x\"]\n", "1: unknown section [pools \"x\"]; did you mean [pool \"NAME\"]?" },
	{ "[pool x]\n", "1: unknown section [pool x]; did you mean [pool \"NAME\"]?" },
	{ "[pool \"]\n", "1: unknown section [pool \"]; did you mean [pool \"NAME\"]?" },
	{ "[pool]\n", "1: unknown section [pool]; did you mean [pool \"NAME\"]?" },
	{ "[]\n",
	  "1: unknown section []; expected [daemon], [pool \"NAME\"] or [resource \"NAME\"]" },
	{ "[pool \"\"]\n",
	  "1: bad pool name \"\": expected 1 to 31 of the letters a-z, 0-9, _ and -" },
	{ "[pool \"CPU\"]\n",
	  "1: bad pool name \"CPU\": expected 1 to 31 of the letters a-z, 0-9, _ and -" },
	{ "[pool \"a234567890123456789012345678901x\"]\n",
	  "1: bad pool name \"a234567890123456789012345678901x\": expected 1 to 31 of the letters "
	  "a-z, 0-9, _ and -" },
	{ "\n[daemon\n", "2: the section's name has no end; expected [daemon], [pool \"NAME\"] or "
			 "[resource \"NAME\"]" },
	{ "[daemon] max_jobs = 3\n", "1: text after the section's name: \"max_jobs = 3\"; expected "
				     "the end of the line" },
	{ "[daemon]\n\n[daemon]\n", "3: [daemon] was already given on line 1" },
	{ P "\n[pool \"p\"]\n", "4: [pool \"p\"] was already given on line 1" },
	{ "[pool \"p\"]\nworkers = 1\n", "1: [pool \"p\"] has no executor; add a line \"executor = "
					 "\" with one of process, thread, "
					 "event, command" },
	{ "[pool \"p\"]\nworkers = 1\n[daemon]\n", "1: [pool \"p\"] has no executor; add a line "
						   "\"executor = \" with one of process, thread, "
						   "event, command" },
	{ "[resource db]\n",
	  "1: unknown section [resource db]; did you mean [resource \"NAME\"]?" },
	{ "[ressource \"db\"]\n",
	  "1: unknown section [ressource \"db\"]; did you mean [resource \"NAME\"]?" },
	{ "[resource \"a b\"]\n", "1: bad resource name \"a b\": " RESOURCE_EXPECTED },
	{ "[resource \"a=b\"]\n", "1: bad resource name \"a=b\": " RESOURCE_EXPECTED },
	{ R "limit = 1\n" R "limit = 1\n", "3: [resource \"db\"] was already given on line 1" },
	{ "\n" R "[daemon]\n", "2: [resource \"db\"] has no limit; add a line \"limit = N\", the "
			       "units that jobs may have at once" },
	{ R "limit = 0\n",
	  "2: bad value \"0\" for limit in [resource \"db\"]: expected a number from 1 to "
	  "1000000000" },
	{ R "limits = 1\n",
	  "2: unknown key \"limits\" in [resource \"db\"]; did you mean \"limit\"?" },
	{ R "workers = 1\n",
	  "2: unknown key \"workers\" in [resource \"db\"]; it belongs in [pool \"NAME\"]" },
	{ "[daemon]\nlimit = 1\n",
	  "2: unknown key \"limit\" in [daemon]; it belongs in [resource \"NAME\"]" },
	/* keys */
	{ "max_jobs = 3\n", "1: key \"max_jobs\" before the first section; expected [daemon], "
			    "[pool \"NAME\"] or [resource \"NAME\"]" },
	{ P "worker = 2\n",
	  "3: unknown key \"worker\" in [pool \"p\"]; did you mean \"workers\"?" },
	{ P "conc = 2\n",
	  "3: unknown key \"conc\" in [pool \"p\"]; did you mean \"concurrency\"?" },
	{ P "colour = red\n",
	  "3: unknown key \"colour\" in [pool \"p\"]; pyprepd.conf(5) lists them" },
	{ P "max_jobs = 2\n",
	  "3: unknown key \"max_jobs\" in [pool \"p\"]; it belongs in [daemon]" },
	{ "[daemon]\nworkers = 2\n",
	  "2: unknown key \"workers\" in [daemon]; it belongs in [pool \"NAME\"]" },
	{ "[daemon]\nmax_job = 2\n",
	  "2: unknown key \"max_job\" in [daemon]; did you mean \"max_jobs\"?" },
	{ "[daemon]\n= 2\n", "2: unknown key \"\" in [daemon]; pyprepd.conf(5) lists them" },
	{ P "workers = 2\nworkers = 2\n",
	  "4: key \"workers\" in [pool \"p\"] was already given on line 3" },
	{ "[daemon]\noperators = a\noperators = b\n",
	  "3: key \"operators\" in [daemon] was already given on line 2" },
	{ P "workers = 2\n  grace = 2s\n",
	  "4: the line is indented and so would go on with \"workers\" of line 3, which takes one "
	  "line; remove the blanks at its start" },
	{ "[daemon]\nmax_jobs\n",
	  "2: cannot make sense of \"max_jobs\"; expected KEY = VALUE or a section" },
	{ "hello world\n[deamon]\n",
	  "1: cannot make sense of \"hello world\"; expected KEY = VALUE or a section" },
	/* values */
	{ P "workers = many\n",
	  "3: bad value \"many\" for workers in [pool \"p\"]: expected a number from 1 to 256" },
	{ P "workers = 0\n",
	  "3: bad value \"0\" for workers in [pool \"p\"]: expected a number from 1 to 256" },
	{ P "workers = 257\n",
	  "3: bad value \"257\" for workers in [pool \"p\"]: expected a number from 1 to 256" },
	{ P "workers = -1\n",
	  "3: bad value \"-1\" for workers in [pool \"p\"]: expected a number from 1 to 256" },
	{ P "workers = 2 # two\n",
	  "3: bad value \"2 # two\" for workers in [pool \"p\"]: expected a number from 1 to 256" },
	{ P "workers = 4294967297\n",
	  "3: bad value \"4294967297\" for workers in [pool \"p\"]: expected a number from 1 to "
	  "256" },
	{ P "workers = 99999999999999999999999999999999999999999999\n",
	  "3: bad value \"99999999999999999999999999999999999999999999\" for workers in [pool "
	  "\"p\"]: expected a number from 1 to 256" },
	{ P "workers =\n",
	  "3: bad value \"\" for workers in [pool \"p\"]: expected a number from 1 to 256" },
	{ "[pool \"p\"]\nexecutor = proces\n",
	  "2: bad value \"proces\" for executor in [pool \"p\"]: expected one of process, thread, "
	  "event, command; did you mean \"process\"?" },
	{ "[pool \"p\"]\nexecutor = gpu\n",
	  "2: bad value \"gpu\" for executor in [pool \"p\"]: expected one of process, thread, "
	  "event, command" },
	{ "[pool \"p\"]\nconcurrency = 2\nexecutor = process\n\n[daemon]\n",
	  "2: bad value \"2\" for concurrency in [pool \"p\"]: expected at most 1, which is what "
	  "executor process allows" },
	{ P "concurrency = 2049\n",
	  "3: bad value \"2049\" for concurrency in [pool \"p\"]: expected a number from 1 to "
	  "2048" },
	{ P "grace = 2x\n",
	  "3: bad value \"2x\" for grace in [pool \"p\"]: expected a duration from "
	  "0s to 1h, such as 500ms, 2s or 1m" },
	{ P "grace = .5s\n", "3: bad value \".5s\" for grace in [pool \"p\"]: expected a duration "
			     "from 0s to 1h, such as 500ms, 2s or 1m" },
	{ P "grace = 3601\n",
	  "3: bad value \"3601\" for grace in [pool \"p\"]: expected a duration "
	  "from 0s to 1h, such as 500ms, 2s or 1m" },
	{ P "restart_window = 1ms\n",
	  "3: bad value \"1ms\" for restart_window in [pool \"p\"]: expected a duration from 1s to "
	  "24h, such as 500ms, 2s or 1m" },
	{ "[daemon]\ndrain_deadline = soon\n",
	  "2: bad value \"soon\" for drain_deadline in [daemon]: " DURATION_0_24H },
	{ "[daemon]\norphan_grace = 25h\n",
	  "2: bad value \"25h\" for orphan_grace in [daemon]: " DURATION_0_24H },
	{ P "output_cap = 1.5M\n",
	  "3: bad value \"1.5M\" for output_cap in [pool \"p\"]: expected a "
	  "size from 0 to 1G, such as 64K, 1M or 2G" },
	{ P "address_space = 1K\n",
	  "3: bad value \"1K\" for address_space in [pool \"p\"]: expected 0 or a size from 64M to "
	  "64T, such as 64K, 1M or 2G" },
	{ "[daemon]\nmax_job_bytes = 99999999999T\n",
	  "2: bad value \"99999999999T\" for max_job_bytes in [daemon]: expected a size from 64K "
	  "to "
	  "1T, such as 64K, 1M or 2G" },
	{ "[daemon]\nsocket_mode = 0888\n",
	  "2: bad value \"0888\" for socket_mode in [daemon]: expected an octal mode from 0600 to "
	  "0777" },
	{ "[daemon]\nsocket_mode = 0444\n",
	  "2: bad value \"0444\" for socket_mode in [daemon]: expected an octal mode from 0600 to "
	  "0777" },
	{ "[daemon]\ngroup = two words\n",
	  "2: bad value \"two words\" for group in [daemon]: expected a group name of at most 63 "
	  "bytes, or nothing" },
	{ "[daemon]\noperators = a/b\n", "2: bad value \"a/b\" for operators in [daemon]: expected "
					 "at most 32 user names of at most "
					 "31 bytes, separated by commas" },
	{ "[daemon]\noperators = a2345678901234567890123456789012\n",
	  "2: bad value \"a2345678901234567890123456789012\" for operators in [daemon]: expected "
	  "at "
	  "most 32 user names of at most 31 bytes, separated by commas" },
	{ "[daemon]\ndrop_to_client = maybe\n",
	  "2: bad value \"maybe\" for drop_to_client in [daemon]: expected yes or no" },
	/* not text */
	{ "[daemon]\n\x01\n", "2: byte 0x01 is not text; expected a configuration file" },
	{ "\x7f"
	  "ELF",
	  "1: byte 0x7f is not text; expected a configuration file" },
};

Test(config, what_is_wrong_is_refused_in_exact_words)
{
	for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++) {
		struct config before;
		char expected[1024];

		config_default(&config);
		before = config;
		int r = load(bad_files[i].text);
		snprintf(expected, sizeof(expected), "%s:%s", path, bad_files[i].message);
		cr_expect_eq(r, -EINVAL, "%s: %d", bad_files[i].text, r);
		cr_expect_str_eq(why, expected, "got      %s\nexpected %s", why, expected);
		cr_expect_eq(memcmp(&before, &config, sizeof(config)), 0,
			     "changed by the refused %s", bad_files[i].text);
	}
}

Test(config, a_long_line_is_refused_and_one_that_just_fits_is_not)
{
	char text[512], expected[512];

	snprintf(text, sizeof(text), "[daemon]\n#%0196d\nmax_jobs = 6\n", 0);
	cr_assert_eq(load(text), 0, "%s", why);
	cr_assert_eq(config.max_jobs, 6u);
	snprintf(text, sizeof(text), "[daemon]\n#%0197d\nmax_jobs = 6\n", 0);
	cr_assert_eq(load(text), -EINVAL);
	snprintf(expected, sizeof(expected),
		 "%s:2: the line is 198 bytes long; expected at most 197", path);
	cr_assert_str_eq(why, expected);
	snprintf(text, sizeof(text), "[daemon]\nmax_jobs = %0186d", 7); /* 197, no newline */
	cr_assert_eq(load(text), 0, "%s", why);
	cr_assert_eq(config.max_jobs, 7u);
}

Test(config, one_pool_too_many_is_refused)
{
	char text[4096] = "", expected[512];

	for (int i = 0; i <= POOLS_MAX; i++)
		sprintf(text + strlen(text), "[pool \"p%d\"]\nexecutor = event\n", i);
	cr_assert_eq(load(text), -EINVAL);
	snprintf(expected, sizeof(expected), "%s:65: more than 32 pools", path);
	cr_assert_str_eq(why, expected);
	*strstr(text, "[pool \"p32\"]") = '\0';
	cr_assert_eq(load(text), 0, "%s", why);
	cr_assert_eq(config.pool_count, 32u);
}

Test(config, no_file_a_directory_and_an_endless_file_are_refused)
{
	char expected[512];

	snprintf(path, sizeof(path), "%s/none", directory);
	cr_assert_eq(config_load(&config, path, why, sizeof(why)), -ENOENT);
	snprintf(expected, sizeof(expected), "%s: cannot be read: No such file or directory", path);
	cr_assert_str_eq(why, expected);
	cr_assert_eq(config_load(&config, directory, why, sizeof(why)), -EISDIR);
	snprintf(expected, sizeof(expected), "%s: is a directory; expected a configuration file",
		 directory);
	cr_assert_str_eq(why, expected);
	cr_assert_eq(config_load(&config, "/dev/zero", why, sizeof(why)), -EFBIG);
	cr_assert_str_eq(why, "/dev/zero: is longer than 1048576 bytes; expected a configuration "
			      "file");
	cr_assert_eq(config_load(&config, "/dev/null", why, sizeof(why)), 0, "%s", why);
}

Test(config, a_zero_byte_is_refused)
{
	snprintf(path, sizeof(path), "%s/zero", directory);
	FILE *f = fopen(path, "w");
	fwrite("[daemon]\n\0max_jobs = 3\n", 1, 23, f);
	fclose(f);
	cr_assert_eq(config_load(&config, path, why, sizeof(why)), -EINVAL);
	cr_assert_not_null(strstr(why, ":2: byte 0x00 is not text"), "%s", why);
}

Test(config, a_short_buffer_for_the_sentence_is_not_overrun)
{
	char little[16];

	memset(little, '#', sizeof(little));
	test_write_file(directory, "c", "[deamon]\n", path, sizeof(path));
	cr_assert_eq(config_load(&config, path, little, 8), -EINVAL);
	cr_assert_eq(little[8], '#');
	cr_assert_eq(strlen(little), 7u);
}

/* Print, read, print: the same words and the same structure. */
static void
round_trip(void)
{
	struct config again;
	char first[16384] = "", second[16384] = "";

	FILE *f = fmemopen(first, sizeof(first), "w");
	config_print(&config, f);
	fclose(f);
	test_write_file(directory, "printed", first, path, sizeof(path));
	config_default(&again);
	cr_assert_eq(config_load(&again, path, why, sizeof(why)), 0, "%s\n%s", why, first);
	f = fmemopen(second, sizeof(second), "w");
	config_print(&again, f);
	fclose(f);
	cr_assert_str_eq(first, second);
	cr_assert_eq(config.pool_count, again.pool_count);
	cr_assert_eq(config.operator_count, again.operator_count);
	for (unsigned i = 0; i < config.pool_count; i++)
		cr_assert_eq(memcmp(&config.pools[i], &again.pools[i], sizeof(again.pools[i])), 0);
	cr_assert_eq(memcmp(config.operators, again.operators, sizeof(again.operators)), 0);
}

Test(config, what_is_printed_reads_back_to_the_same)
{
	round_trip();
	cr_assert_eq(
		load("[daemon]\ndrain_deadline = 1.234567891s\ngroup = x\nsocket_mode = 0770\n"
		     "operators = a,b\ndrop_to_client = YES\nmax_job_bytes = 65537\n"
		     "[resource \"db\"]\nlimit = 12\n[resource \"GPU/0\"]\nlimit = 1000000000\n"
		     "[pool \"q\"]\nexecutor = thread\nconcurrency = 5\ngrace = 90s\n"
		     "address_space = 64M\noutput_cap = 0\n[pool \"cpu\"]\n"),
		0, "%s", why);
	cr_assert_eq(config.drain_deadline_ns, 1234567891u);
	round_trip();
}

Test(config, the_longest_list_of_operators_reads_back)
{
	for (unsigned i = 0; i < OPERATORS_MAX; i++)
		snprintf(config.operators[i], sizeof(config.operators[i]), "%031u", i);
	config.operator_count = OPERATORS_MAX;
	round_trip();
}

/* The item of `key` in the page, from its .It to the next. */
static void
page_item(const char *page, const char *key, char *item, size_t size)
{
	char head[80];

	snprintf(head, sizeof(head), "\n.It Ic %s No =", key);
	const char *at = strstr(page, head);
	cr_assert_not_null(at, "pyprepd.conf.5 has no item \".It Ic %s No = ...\"", key);
	cr_assert_null(strstr(at + 1, head), "pyprepd.conf.5 has two items for %s", key);
	const char *end = strstr(at + 1, "\n.It Ic ");
	if (end == NULL)
		end = strstr(at, "\n.El");
	snprintf(item, size, "%.*s", (int)(end - at), at);
}

Test(config, the_page_has_every_key_with_its_range_and_default)
{
	static char page[65536], item[8192];
	FILE *f = fopen(PYPREP_SOURCE "/docs/pyprepd.conf.5", "r");
	unsigned items = 0;

	cr_assert_not_null(f);
	page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
	fclose(f);
	for (unsigned i = 0; i < config_key_count; i++) {
		const struct config_key *k = &config_keys[i];
		char range[80], words[96];

		page_item(page, k->name, item, sizeof(item));
		key_range(k, range, sizeof(range));
		snprintf(words, sizeof(words), "Range %s", range);
		cr_expect(range[0] == '\0' || strstr(item, words), "%s: no \"%s\" in the page:%s",
			  k->name, words, item);
		if (k->fallback == NULL ? strncmp(k->otherwise, "must be given", 13) == 0
					: k->fallback[0] == '\0')
			continue;
		snprintf(words, sizeof(words), "efault %s",
			 k->fallback ? k->fallback : k->otherwise);
		cr_expect(strstr(item, words), "%s: no \"d%s\" in the page:%s", k->name, words,
			  item);
	}
	for (const char *at = page; (at = strstr(at, "\n.It Ic ")); at++)
		items++;
	cr_expect_eq(items, config_key_count, "the page has items that are no keys");
}

/* ---- garbage ---- */

static const char *const scraps[] = {
	"[",
	"]",
	"\"",
	"=",
	":",
	";",
	"#",
	"\n",
	"\n",
	"\n",
	"\r\n",
	" ",
	"\t",
	"daemon",
	"pool",
	"[daemon]\n",
	"[pool \"cpu\"]\n",
	"[pool \"x\"]\nexecutor = event\n",
	"workers",
	"workers = 2",
	"operators = a,",
	"grace = ",
	"1",
	"99999999999999999999",
	"-",
	".",
	"ms",
	"K",
	"executor",
	"process",
	"\xef\xbb\xbf",
	"\xff",
	"max_jobs = 3\n",
};

static size_t
garbage(unsigned *seed, char *to, size_t size)
{
	size_t used = 0, wanted = (size_t)rand_r(seed) % size;

	while (used < wanted) {
		if (rand_r(seed) % 8 == 0) {
			to[used++] = (char)rand_r(seed);
			continue;
		}
		const char *s = scraps[(size_t)rand_r(seed) % (sizeof(scraps) / sizeof(scraps[0]))];
		for (; *s && used < wanted; s++)
			to[used++] = *s;
	}
	return used;
}

Test(config, garbage_is_refused_or_read_but_never_more)
{
	unsigned first = (unsigned)time(NULL) ^ (unsigned)getpid() << 8;
	static char text[2048];
	unsigned read = 0;

	printf("seed %u\n", first);
	snprintf(path, sizeof(path), "%s/garbage", directory);
	for (unsigned n = 0; n < 3000; n++) {
		unsigned seed = first + n;
		size_t length = garbage(&seed, text, n % 2 ? 40 : sizeof(text));
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		cr_assert_eq(write(fd, text, length), (ssize_t)length);
		close(fd);
		config_default(&config);
		why[0] = '\0';
		int r = config_load(&config, path, why, sizeof(why));
		cr_assert(r == 0 || (r == -EINVAL && strncmp(why, path, strlen(path)) == 0),
			  "seed %u: %d %s", first + n, r, why);
		cr_assert_null(strchr(why, '\n'), "seed %u: %s", first + n, why);
		if (r == 0) {
			round_trip();
			snprintf(path, sizeof(path), "%s/garbage", directory);
			read++;
		}
	}
	cr_assert_gt(read, 0u);
}

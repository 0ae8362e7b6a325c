/* test_title.c - the process title: in a made-up argument area, and in the real one. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/title.h"

static char arguments[4096];
static int count;
static char *list[64];

/* A list of `n` arguments that follow each other in memory, as the kernel lays them. */
static void
lay_out(const char *const *words, int n)
{
	char *at = arguments;

	memset(arguments, '#', sizeof(arguments));
	for (count = 0; count < n; count++) {
		list[count] = at;
		at = stpcpy(at, words[count]) + 1;
	}
	list[n] = NULL;
}

static const char *const words[] = { "/usr/sbin/pyprepd", "--config", "/etc/pyprepd.conf" };
#define AREA (18 + 9 + 18)

Test(title, arguments_and_environment_stay_readable)
{
	lay_out(words, 3);
	setenv("TITLE_TEST", "kept", 1);
	title_init(3, list);
	title_set("pyprepd: %s", "supervisor");
	for (int i = 0; i < 3; i++)
		cr_assert_str_eq(list[i], words[i]);
	cr_assert_str_eq(getenv("TITLE_TEST"), "kept");
	setenv("TITLE_TEST", "changed", 1);
	cr_assert_str_eq(getenv("TITLE_TEST"), "changed");
	cr_assert_str_eq(program_invocation_short_name, "pyprepd");
}

Test(title, the_old_place_holds_the_title_and_nothing_else)
{
	lay_out(words, 3);
	title_init(3, list);
	title_set("pyprepd: worker %s/%u", "a-long-name-of-a-pool", 12);
	cr_assert_str_eq(arguments, "pyprepd: worker a-long-name-of-a-pool/12");
	title_set("pyprepd: broker");
	cr_assert_str_eq(arguments, "pyprepd: broker");
	for (size_t i = strlen(arguments); i < AREA; i++)
		cr_assert_eq(arguments[i], '\0');
	cr_assert_eq(arguments[AREA], '#');
}

Test(title, a_title_longer_than_its_place_is_cut)
{
	lay_out(words, 3);
	title_init(3, list);
	title_set("%0300d", 7);
	cr_assert_eq(strlen(arguments), (size_t)AREA - 1);
	cr_assert_eq(arguments[AREA], '#');
}

Test(title, the_short_name_is_first_and_last_word)
{
	char name[64] = "";

	title_set("pyprepd: worker %s/%u", "cpu", 0);
	FILE *f = fopen("/proc/self/comm", "r");
	cr_assert_not_null(fgets(name, sizeof(name), f));
	cr_assert_str_eq(name, "pyprepd:cpu/0\n");
	rewind(f);
	title_set("pyprepd: supervisor");
	f = freopen("/proc/self/comm", "r", f);
	cr_assert_not_null(fgets(name, sizeof(name), f));
	cr_assert_str_eq(name, "pyprepd:supervi\n");
	fclose(f);
}

/* The arguments of this very process, by the addresses in /proc/self/stat. */
static int
real_arguments(char **real, int most)
{
	unsigned long start = 0, end = 0;
	char line[1024] = "", *at;
	int n = 0;

	FILE *f = fopen("/proc/self/stat", "r");
	cr_assert_not_null(fgets(line, sizeof(line), f));
	fclose(f);
	at = strrchr(line, ')'); /* field 2; arg_start is field 48 */
	for (int field = 2; field < 48; field++)
		at = strchr(at + 1, ' ');
	cr_assert_eq(sscanf(at, " %lu %lu", &start, &end), 2);
	for (char *word = (char *)start; word < (char *)end && n < most; word += strlen(word) + 1)
		real[n++] = word;
	real[n] = NULL;
	return n;
}

Test(title, the_command_line_in_proc_is_the_title)
{
	char line[4096] = "";
	int n = real_arguments(list, 63);

	title_init(n, list);
	title_set("pyprepd: worker %s/%u", "a-pool-with-the-longest-name-ok", 255);
	FILE *f = fopen("/proc/self/cmdline", "r");
	cr_assert_gt(fread(line, 1, sizeof(line) - 1, f), 0u);
	fclose(f);
	cr_assert_str_eq(line, "pyprepd: worker a-pool-with-the-longest-name-ok/255");
}

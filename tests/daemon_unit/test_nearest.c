/* test_nearest.c - which name is meant by which typing error. */
#include <criterion/criterion.h>

#include <string.h>

#include "daemon/config.h"

static const char *const names[] = { "executor",    "workers",        "concurrency",
				     "grace",       "output_cap",     "address_space",
				     "restart_max", "restart_window", "io",
				     "cpu" };

static const struct guess {
	const char *typed, *meant;
} guesses[] = {
	{ "workers", "workers" },
	{ "worker", "workers" },   /* one left out */
	{ "workerss", "workers" }, /* one too many */
	{ "wokrers", "workers" },  /* two swapped */
	{ "Workers", "workers" },  /* case does not count */
	{ "exectuer", "executor" },
	{ "conc", "concurrency" },    /* a beginning */
	{ "restart", "restart_max" }, /* of two: the first */
	{ "restart_windw", "restart_window" },
	{ "cup", "cpu" },
	{ "ip", NULL }, /* two letters: anything would be near */
	{ "co", NULL },
	{ "colour", NULL },
	{ "", NULL },
	{ "zzzzzzzz", NULL },
};

Test(nearest, typing_errors_find_their_name_and_others_none)
{
	for (size_t i = 0; i < sizeof(guesses) / sizeof(guesses[0]); i++) {
		const char *got =
			nearest_name(guesses[i].typed, names, sizeof(names) / sizeof(names[0]));
		if (guesses[i].meant == NULL)
			cr_expect_null(got, "%s: got %s", guesses[i].typed, got);
		else
			cr_expect(got && strcmp(got, guesses[i].meant) == 0, "%s: got %s",
				  guesses[i].typed, got ? got : "none");
	}
}

Test(nearest, long_names_and_empty_lists_are_fine)
{
	char longest[300];
	const char *const two[] = { longest, "x" };

	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	cr_expect_null(nearest_name(longest, names, 3));
	cr_expect_null(nearest_name("aaaaaaaa", two, 2));
	cr_expect_null(nearest_name("aaaaaaaa", NULL, 0));
	longest[64] = '\0';
	cr_expect_eq(nearest_name(longest, two, 2), two[0]);
}

/* test_ctl_lab.c - ipc_lab_sense.c: who is best, and where curves cross, on figures made up. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include "client/ctl/ipc_lab.h"

static struct lab lab;

enum { RING, PIPE, QUEUE };

static void
setup(void)
{
	lab = (struct lab){ .size_count = 4, .sizes = { 64, 1024, 16384, 262144 } };
}

TestSuite(ctl_lab, .init = setup, .timeout = 600);

static void
put(unsigned way, double a, double b, double c, double d)
{
	double p50[4] = { a, b, c, d };

	for (unsigned i = 0; i < 4; i++)
		lab.cells[way][i] = (struct lab_cell){
			.done = true, .p50_ns = p50[i], .rate = 1e9 / p50[i], .cpu_ns = p50[i]
		};
}

Test(ctl_lab, the_best_is_the_least_and_the_next_is_told)
{
	double next;

	put(RING, 100, 100, 100, 100);
	put(PIPE, 50, 200, 150, 300);
	cr_expect_eq(lab_best(&lab, 0, LAB_P50, true, &next), PIPE);
	cr_expect_float_eq(next, 2, 1e-9);
	cr_expect_eq(lab_best(&lab, 1, LAB_RATE, true, &next), RING);
	cr_expect_float_eq(next, 2, 1e-9);
	cr_expect_eq(lab_best(&lab, 3, LAB_CPU, true, &next), RING);
	cr_expect_float_eq(next, 3, 1e-9);
}

Test(ctl_lab, what_was_not_measured_is_nobodys)
{
	double next;

	cr_expect_eq(lab_best(&lab, 0, LAB_P50, true, &next), -1);
	put(PIPE, 1, 1, 1, 1);
	cr_expect_eq(lab_best(&lab, 0, LAB_P50, true, &next), PIPE);
	cr_expect(isnan(next));
}

/* Twice as slow at 64, twice as fast at 16384: on logarithmic axes they meet in the middle. */
Test(ctl_lab, a_crossing_lies_where_the_lines_meet)
{
	struct lab_crossing crossings[LAB_CROSSINGS];

	put(RING, 100, 100, 100, 100);
	put(PIPE, 200, 100, 50, 40);
	cr_assert_eq(lab_crossings(&lab, 1.1, crossings), 1);
	cr_expect_eq(crossings[0].before, RING);
	cr_expect_eq(crossings[0].after, PIPE);
	cr_expect_float_eq(crossings[0].bytes, 1024, 1);
}

Test(ctl_lab, noise_is_no_crossing)
{
	struct lab_crossing crossings[LAB_CROSSINGS];

	put(RING, 100, 100, 100, 100);
	put(PIPE, 105, 96, 104, 95);
	cr_expect_eq(lab_crossings(&lab, 1.1, crossings), 0);
	cr_expect_eq(lab_crossings(&lab, 1.01, crossings), 3, "seen without the tolerance");
}

Test(ctl_lab, payloads_in_an_array_are_no_part_of_a_curve)
{
	struct lab_crossing crossings[LAB_CROSSINGS];

	put(RING, 100, 100, 100, 100);
	put(PIPE, 200, 200, 50, 50);
	for (unsigned i = 2; i < 4; i++)
		lab.cells[RING][i].by_name = lab.cells[PIPE][i].by_name = true;
	cr_expect_eq(lab_crossings(&lab, 1.1, crossings), 0);
}

Test(ctl_lab, sizes_are_said_in_their_unit)
{
	char text[32];

	cr_expect_str_eq(lab_bytes(64, text, sizeof text), "64 B");
	cr_expect_str_eq(lab_bytes(32768, text, sizeof text), "32 KiB");
	cr_expect_str_eq(lab_bytes(16777216, text, sizeof text), "16 MiB");
}

/* test_kinds.c - the answers of the CPU kinds, the honesty of their loops, and which rows the
 * registry refuses. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/executor.h"
#include "daemon/kind.h"

static struct args_buffer packed;
static struct call call;
static char answer[512];

static void
teardown(void)
{
	args_buffer_free(&packed);
}

TestSuite(kinds, .fini = teardown, .timeout = 600);

static void
put_text(msgpack_packer *p, const char *text, size_t length)
{
	msgpack_pack_str(p, length);
	msgpack_pack_str_body(p, text, length);
}

/* "n=5 method=memo" into `packed`, as a client would send it. */
static void
give(const struct kind *kind, const char *params)
{
	msgpack_sbuffer map;
	msgpack_packer p;
	char why[512];
	size_t count = 0;

	for (const char *c = params; *c != '\0'; c++)
		count += *c == '=';
	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&p, &map, msgpack_sbuffer_write);
	msgpack_pack_map(&p, count);
	for (const char *at = params; *at != '\0';) {
		size_t name = strcspn(at, "="), value = strcspn(at + name + 1, " ");
		put_text(&p, at, name);
		put_text(&p, at + name + 1, value);
		at += name + 1 + value;
		at += *at == ' ';
	}
	enum job_error error = args_pack(kind, map.data, map.size, &packed, why, sizeof(why));
	msgpack_sbuffer_destroy(&map);
	cr_assert_eq(error, ERR_NONE, "%s %s: %s", kind->name, params, why);
}

/* Run a CPU kind here; its result as text, or "error: " and why. */
static const char *
run(const char *name, const char *params)
{
	unsigned index;
	const struct kind *kind = kind_by_name(name, &index);
	cr_assert_not_null(kind);
	struct run_body body = { .kind = (uint16_t)index };

	give(kind, params);
	call_begin(&call, &body, packed.bytes);
	kind->run(&call);
	if (call.outcome.state != JOB_SUCCEEDED) {
		snprintf(answer, sizeof(answer), "error: %.*s", (int)call.outcome.message_length,
			 call.message);
	} else {
		msgpack_unpacked result;
		msgpack_unpacked_init(&result);
		snprintf(answer, sizeof(answer), "nil");
		if (msgpack_unpack_next(&result, call.result.data, call.result.size, NULL) ==
		    MSGPACK_UNPACK_SUCCESS)
			msgpack_object_print_buffer(answer, sizeof(answer), result.data);
		msgpack_unpacked_destroy(&result);
	}
	call_end(&call);
	return answer;
}

static const struct {
	const char *kind, *params, *result;
} answers[] = {
	{ "noop", "", "nil" },
	{ "sumsq", "n=0", "0" },
	{ "sumsq", "n=1", "0" },
	{ "sumsq", "n=4", "14" },
	{ "sumsq", "n=1000000", "333332833333500000" },
	{ "sumsq", "n=4000000", "\"21333325333334000000\"" },
	{ "square", "x=-12", "144" },
	{ "square", "x=3037000499", "9223372030926249001" },
	{ "fib", "n=0", "0" },
	{ "fib", "n=1", "1" },
	{ "fib", "n=20", "6765" },
	{ "fib", "n=90 method=memo", "2880067194370816120" },
	{ "fib", "n=90 method=lru", "2880067194370816120" },
	{ "fib", "n=93 method=memo", "12200160415121876738" },
	{ "fib", "n=186 method=memo", "\"332825110087067562321196029789634457848\"" },
	{ "fib", "n=186 method=lru", "\"332825110087067562321196029789634457848\"" },
	{ "fib", "n=51",
	  "error: n=51 would take ages with method=naive, which goes to 50; use method=memo or "
	  "method=lru" },
	{ "primes", "limit=0", "0" },
	{ "primes", "limit=2", "0" },
	{ "primes", "limit=3", "1" },
	{ "primes", "limit=4", "2" },
	{ "primes", "limit=10", "4" },
	{ "primes", "limit=49", "15" },
	{ "primes", "limit=50", "15" },
	{ "primes", "limit=1000000", "78498" },
	{ "primes", "limit=2000000", "148933" },
	{ "touch", "bytes=0", "0" },
	{ "touch", "bytes=5000", "5000" },
	{ "sort", "n=0", "{\"sorted\"=>true, \"checksum\"=>0, \"comparisons\"=>0}" },
	{ "sort", "n=100001 algorithm=bubble",
	  "error: n=100001 would take ages with algorithm=bubble, which goes to 100000; use "
	  "algorithm=quick or algorithm=merge" },
	{ "lines", "path=/no/such/file",
	  "error: cannot open /no/such/file: No such file or "
	  "directory" },
	{ "lines", "path=/tmp mode=whole",
	  "error: cannot read /tmp: it is a directory, not a regular file" },
	{ "lines", "path=/dev/zero",
	  "error: cannot read /dev/zero: it is a device, pipe or socket, not a regular file" },
};

Test(kinds, answers_are_those_of_arithmetic)
{
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		cr_expect_str_eq(run(answers[i].kind, answers[i].params), answers[i].result);
}

/* What the three algorithms have in common: {"sorted"=>true, "checksum"=>N. */
static void
sort_with(const char *algorithm, int n, char *head, size_t size)
{
	char params[64];

	snprintf(params, sizeof(params), "n=%d algorithm=%s seed=7", n, algorithm);
	snprintf(head, size, "%.*s", (int)strcspn(run("sort", params), "c") + 40, answer);
	head[strcspn(head + 16, ",") + 16] = '\0';
}

Test(kinds, all_sorts_sort_the_same_numbers)
{
	static const int sizes[] = { 1, 2, 3, 4, 5, 7, 16, 100, 1001, 3000 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char bubble[80], quick[80], merge[80];
		sort_with("bubble", sizes[i], bubble, sizeof(bubble));
		sort_with("quick", sizes[i], quick, sizeof(quick));
		sort_with("merge", sizes[i], merge, sizeof(merge));
		cr_expect_eq(strncmp(bubble, "{\"sorted\"=>true, \"checksum\"=>", 29), 0, "%s",
			     bubble);
		cr_expect_str_eq(quick, bubble);
		cr_expect_str_eq(merge, bubble);
	}
}

Test(kinds, lines_counts_as_wc_does_in_both_modes)
{
	char path[] = "/tmp/pyprep-lines.XXXXXX", params[64];
	int fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	FILE *file = fdopen(fd, "w");
	for (int i = 0; i < 30000; i++) /* words that cross every border of 64 KiB */
		fprintf(file, "one\ttwo  th%dree \n", i);
	fprintf(file, " last");
	fclose(file);

	static const char want[] = "{\"lines\"=>30000, \"words\"=>90001, \"bytes\"=>618895}";
	snprintf(params, sizeof(params), "path=%s", path);
	cr_expect_str_eq(run("lines", params), want);
	snprintf(params, sizeof(params), "path=%s mode=whole", path);
	cr_expect_str_eq(run("lines", params), want);
	unlink(path);
}

Test(kinds, lines_reads_files_that_say_they_are_empty)
{
	run("lines", "path=/proc/self/maps mode=whole");
	cr_expect_eq(strncmp(answer, "{\"lines\"=>", 10), 0, "%s", answer);
	cr_expect_neq(answer[10], '0');
}

static double
cpu_seconds(const char *params)
{
	struct timespec a, b;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	run("sumsq", params);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
}

/* A compiler that folds the sum to its formula makes both take the same time. */
Test(kinds, run_time_of_sumsq_grows_with_n)
{
	double small = 1, large = 1;

	/* The least of some; of many when the machine does much else. */
	for (int i = 0; i < 7 || (i < 1000 && large <= 4 * small); i++) {
		double s = cpu_seconds("n=500000"), l = cpu_seconds("n=4000000");
		small = s < small ? s : small;
		large = l < large ? l : large;
	}
	cr_expect_gt(large, 4 * small, "%g s and %g s", small, large);
	cr_expect_gt(small, 500000 * 0.05e-9, "half a million rounds in %g s", small);
}

Test(kinds, items_are_those_of_item)
{
	const struct kind *square = kind_by_name("square", NULL);
	int64_t got[100];

	square->items(-50, 100, got);
	for (int i = 0; i < 100; i++)
		cr_expect_eq(got[i], square->item(i - 50));
}

Test(kinds, the_registry_is_whole_and_finds_by_name_and_index)
{
	char why[256] = "";
	unsigned index;

	cr_expect_eq(kinds_check(why, sizeof(why)), 0, "%s", why);
	for (unsigned i = 0; i < kind_count; i++) {
		cr_expect_eq(kind_by_name(kinds[i]->name, &index), kinds[i]);
		cr_expect_eq(index, i);
		cr_expect_eq(kind_by_index(i), kinds[i]);
	}
	cr_expect_null(kind_by_index(kind_count));
	cr_expect_null(kind_by_name("nope", NULL));
	cr_expect_str_eq(kind_class_text(KIND_IO), "io");
}

static void
nothing(struct call *c)
{
	(void)c;
}

static void
no_io(struct io_call *io)
{
	(void)io;
}

static int64_t
one(int64_t x)
{
	return x;
}

static uint32_t
no_range(struct call *unused, int64_t first, uint32_t count, int64_t *ret)
{
	(void)unused, (void)first, (void)count, (void)ret;
	return 0;
}

#define NUMBER .name = "n", .type = PARAM_INT, .low = 0, .high = 9, .help = "h"

static const struct {
	struct kind kind;
	const char *why;
} incomplete[] = {
	{ { .help = "h", .run = nothing }, "kind without a name cannot be asked for" },
	{ { .name = "k", .run = nothing }, "kind k lacks a help line" },
	{ { .name = "k", .help = "h" }, "kind k is of class cpu and lacks run()" },
	{ { .name = "k", .help = "h", .run = nothing, .stop = no_io },
	  "kind k is of class cpu: start() and stop() are io's" },
	{ { .name = "k", .help = "h", .class = KIND_IO, .start = no_io },
	  "kind k is of class io and lacks stop()" },
	{ { .name = "k", .help = "h", .class = KIND_IO, .stop = no_io },
	  "kind k is of class io and lacks start()" },
	{ { .name = "k", .help = "h", .class = KIND_COMMAND, .run = nothing },
	  "kind k is of class command: run(), item() and range() are cpu's" },
	{ { .name = "k", .help = "h", .class = 7 }, "kind k has no class" },
	{ { .name = "k", .help = "h", .run = nothing, .item = one },
	  "kind k has item(): its first parameter must be an integer" },
	{ { .name = "k",
	    .help = "h",
	    .run = nothing,
	    .range = no_range,
	    .item = one,
	    .params = { { NUMBER } } },
	  "kind k has both item() and range()" },
	{ { .name = "k",
	    .help = "h",
	    .run = nothing,
	    .params = { { .name = "x", .type = PARAM_REAL, .help = "h" } } },
	  "kind k lacks a range for x" },
	{ { .name = "k",
	    .help = "h",
	    .run = nothing,
	    .params = { { .type = PARAM_INT, .high = 1, .help = "h" } } },
	  "kind k has a parameter without a name" },
	{ { .name = "k",
	    .help = "h",
	    .run = nothing,
	    .params = { { .name = "n", .type = PARAM_INT, .high = 1 } } },
	  "kind k lacks a help line for n" },
	{ { .name = "k",
	    .help = "h",
	    .run = nothing,
	    .params = { { .name = "n", .type = PARAM_INT, .help = "h" } } },
	  "kind k lacks a range for n" },
	{ { .name = "k",
	    .help = "h",
	    .run = nothing,
	    .params = { { .name = "m", .type = PARAM_ENUM, .help = "h" } } },
	  "kind k lacks the choices of m" },
	{ { .name = "k", .help = "h", .run = nothing, .params = { { NUMBER }, { NUMBER } } },
	  "kind k declares n twice" },
	{ { .name = "k", .help = "h", .run = nothing, .params = { { NUMBER, .fallback = "10" } } },
	  "kind k has a wrong default for n: n must be an integer between 0 and 9, got \"10\"" },
};

Test(kinds, an_incomplete_row_is_refused_with_what_it_lacks)
{
	for (size_t i = 0; i < sizeof(incomplete) / sizeof(incomplete[0]); i++) {
		char why[256] = "";
		cr_expect_lt(kind_check(&incomplete[i].kind, why, sizeof(why)), 0, "%s",
			     incomplete[i].why);
		cr_expect_str_eq(why, incomplete[i].why);
	}
}

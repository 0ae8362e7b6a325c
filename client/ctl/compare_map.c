/* compare_map.c - compare map: a million squares, all results received. */
#include <inttypes.h>

#include "client/ctl/compare.h"
#include "ipc/clock.h"

#define ITEMS 1000000u
#define QUICK 100000u
#define CHUNK 4096u

struct map_way {
	struct pyprep *p;
	struct jobs_work jobs;
};

static int
measure_array(struct compare *c, struct way *way, double *ret)
{
	struct map_way *w = way->context;
	uint64_t ns;

	(void)c;
	if (jobs_run(w->p, &w->jobs, way, &ns) < 0)
		return -1;
	*ret = (double)w->jobs.items * (double)NS_PER_S / (double)ns;
	return 0;
}

/* 0 + 1 + 4 + ... + (n-1)^2 */
static uint64_t
sum_of_squares(uint64_t n)
{
	return (n - 1) * n / 2 * (2 * n - 1) / 3;
}

static void
say(struct compare *c, const struct work *work, const struct way *sequential,
    const struct way *pool)
{
	double gain = work_ratio(work, pool, sequential);

	if (gain == gain) /* measured */
		compare_say(c, "CPython's Pool.map is %.2f x a plain loop in one process: %s.",
			    gain,
			    gain < 1 ? "sending an item and its square costs more than the square"
				     : "its processes outweigh the sending");
	compare_say_ratio(c, work, pool);
}

int
compare_map(struct compare *c, struct pyprep *p)
{
	uint64_t items = c->quick ? QUICK : ITEMS;
	struct map_way ours = { .p = p };
	char pool[32] = "";
	struct work work;
	unsigned at_once = 0;

	work_begin(&work, "map", "square", UNIT_PER_S, "%" PRIu64 " squares, results received",
		   items);
	(void)jobs_find_pool(p, "process", pool, sizeof pool, &at_once);
	ours.jobs = (struct jobs_work){ .kind = "square",
					.pool = pool[0] ? pool : NULL,
					.count = 1,
					.items = items,
					.items_expected = sum_of_squares(items) };
	const struct way *array = work_ours(&work, "array job", at_once, measure_array, &ours);
	unsigned workers = at_once > 0 ? at_once : 1;
	const char *params = "way=%s count=%" PRIu64 " chunksize=%u workers=%u";
	const struct way *sequential =
		work_python(&work, "[x * x for x in ...]", 1, array, "map", "rate_per_s", params,
			    "sequential", items, CHUNK, workers);
	const struct way *python =
		work_python(&work, "Pool.map, chunksize 4096", workers, array, "map", "rate_per_s",
			    params, "multiprocessing", items, CHUNK, workers);
	work_python(&work, "ProcessPoolExecutor.map", workers, array, "map", "rate_per_s", params,
		    "processpool", items, CHUNK, workers);
	int status = work_run(c, &work);
	say(c, &work, sequential, python);
	work_end(&work);
	return status;
}
